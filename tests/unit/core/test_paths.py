from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optikit.core.paths import addresses_of, path_of, paths_of, rooted
from optikit.errors import SpecError
from optikit.spec.job import OptimizationJob


def job(**spec: Any) -> OptimizationJob:
    return OptimizationJob.parse({"model": {"name": "m"}, "compute": {"sku": "CPU_2"}, **spec})


def test_every_path_of_a_job_with_its_key() -> None:
    found = paths_of(
        job(
            model={"name": "m", "uri": "file:///models/a%20b"},
            dataset={"path": "data/x"},
            workload={"trace": "t.csv", "arrivals": "trace"},
            quality={"tasks": ["everyday_facts", "own/t.yaml", "/x/u.yml", "hellaswag"]},
        )
    )
    assert [(named.key, str(named.path)) for named in found] == [
        ("model.uri", "/models/a b"),
        ("dataset.path", "data/x"),
        ("workload.trace", "t.csv"),
        ("quality.tasks", "own/t.yaml"),
        ("quality.tasks", "/x/u.yml"),
    ]


def test_a_job_that_names_none() -> None:
    assert paths_of(job(dataset={"path": "hf://ORG/NAME"})) == ()


def test_no_field_of_a_job_that_holds_a_path_is_forgotten() -> None:
    """A new key whose name sounds like a path must be listed here, or looked at."""
    sounds = ("path", "uri", "trace", "folder", "file", "dir", "storage", "tasks", "url")
    found = set()

    def walk(model: Any, prefix: str) -> None:
        for name, field in model.model_fields.items():
            if any(word in name for word in sounds):
                found.add(f"{prefix}{name}")
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                walk(field.annotation, f"{prefix}{name}.")

    walk(OptimizationJob, "")
    known = {"model.uri", "workload.trace", "quality.tasks", "tuner.storage", "publish.uri"}
    known |= {"engine.url"}
    assert found - {"dataset.path"} == known


@pytest.mark.parametrize("uri", ["s3://x/y", "file://host/x", "http://[x", "", "a\0b", "file://"])
def test_addresses_that_are_no_files(uri: str) -> None:
    with pytest.raises(SpecError, match=r"model\.uri"):
        path_of(uri)


def test_addresses_that_are_files() -> None:
    assert path_of("file://localhost/a") == Path("/a")
    assert path_of("models/x") == Path("models/x")


def test_every_address_of_a_job_with_its_key() -> None:
    found = addresses_of(
        job(
            model={"name": "m", "uri": "s3://b/m/"},
            dataset={"path": "hf://ORG/NAME"},
            publish={"uri": "webhdfs://host:1/out"},
        )
    )
    assert [(key, str(address)) for key, address in found] == [
        ("model.uri", "s3://b/m"),
        ("dataset.path", "hf://ORG/NAME"),
        ("publish.uri", "webhdfs://host:1/out"),
    ]
    assert addresses_of(job(dataset={"path": "data"})) == ()


def test_a_bundle_goes_to_an_address_and_to_no_path() -> None:
    """A path would be written with the rights of whoever runs the site."""
    with pytest.raises(SpecError, match=r"publish\.uri: asked '/tmp/out', which is no address"):
        addresses_of(job(publish={"uri": "/tmp/out"}))


@pytest.mark.parametrize(
    "spec",
    [
        {"dataset": {"path": "mlflow://models:/m@certified"}},
        {"publish": {"uri": "mlflow://models:/m"}},
    ],
)
def test_a_registry_of_models_is_no_place_of_anything_else(spec: Any) -> None:
    with pytest.raises(SpecError, match="a registry of models holds models alone"):
        addresses_of(job(**spec))
    named = addresses_of(job(model={"name": "m", "uri": "mlflow://models:/m@certified"}))
    assert [key for key, _ in named] == ["model.uri"]


def test_an_endpoint_is_an_address_and_its_key_a_file() -> None:
    engine = {"name": "openai", "url": "https://llm.example.com/v1", "key": {"file": "keys/x"}}
    asked = job(engine=engine)
    assert [(key, str(address)) for key, address in addresses_of(asked)] == [
        ("engine.url", "https://llm.example.com/v1")
    ]
    assert [(n.key, str(n.path)) for n in paths_of(asked)] == [("engine.key.file", "keys/x")]
    moved = rooted(asked, Path("/home"))
    assert [str(n.path) for n in paths_of(moved)] == ["/home/keys/x"]
    for url in ("https://me:pw@llm.example.com", "https://llm.example.com/?key=x"):
        with pytest.raises(SpecError, match=r"engine\.url"):
            addresses_of(job(engine={"name": "openai", "url": url}))
