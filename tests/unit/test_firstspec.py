"""From a folder, a registered model or a shipped shape to a spec that plans as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optikit import firstspec
from optikit.api import Submitter
from optikit.errors import BadInput, DoesNotFit, OptikitError, UnknownName, UnsafeInput
from optikit.firstspec import first_spec
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.specfile import parse_mapping
from optikit.stores.file import FileModelStore
from optikit.stores.shapes import shipped_names
from tests.models import tiny_folder

SHAPES = Path(firstspec.__file__).parent / "stores" / "_shapes"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firstspec, "hardware", dict)


def planned(text: str, home: Path) -> Plan:
    job = OptimizationJob.parse(parse_mapping(text.encode(), "job spec", "job.yaml"))
    return Submitter(home).plan(job)


def folder_of(shape: Path, folder: Path) -> Path:
    """A folder with that config and the least of weights."""
    tiny_folder(folder)
    config = json.loads(shape.read_text())["config"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("shape", sorted(SHAPES.glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("engine", [None, "simulated"])
def test_every_shape_gives_a_spec_that_plans(
    shape: Path, engine: str | None, tmp_path: Path
) -> None:
    folder = folder_of(shape, tmp_path / shape.stem)
    found = first_spec(str(folder), tmp_path / "home", engine=engine)
    plan = planned(found.text, tmp_path / "home")
    assert plan.job == found.suggestion.job
    assert plan.job.model.name == shape.stem
    assert plan.simulated is (engine == "simulated")
    assert plan.serving == found.suggestion.plan.serving
    assert not (tmp_path / "home").exists(), "nothing is written"


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_name_gives_a_simulated_spec_that_plans(name: str, tmp_path: Path) -> None:
    found = first_spec(name, tmp_path)
    plan = planned(found.text, tmp_path)
    assert plan.simulated
    assert plan.job.model.name == name
    assert "SIMULATED" in found.text


def test_every_value_has_a_reason_above_it(tmp_path: Path) -> None:
    lines = first_spec("qwen-2.5-7b", tmp_path).text.splitlines()
    for key in ("recipe:", "num_trials:", "sku:", "prompt_tokens:", "slo:"):
        (place,) = [i for i, line in enumerate(lines) if line.lstrip().startswith(key)]
        assert lines[place - 1].lstrip().startswith("# "), key
    assert all(len(line) <= 100 for line in lines)


def test_a_registered_model_is_named_by_its_version(tmp_path: Path) -> None:
    store = FileModelStore(tmp_path / "home")
    for number, name in enumerate(("smollm2-135m", "qwen-2.5-7b")):
        folder = folder_of(SHAPES / f"{name}.json", tmp_path / name)
        store.add(folder, "mine", str(number))
    newest = first_spec("mine", tmp_path / "home").suggestion.job
    assert (newest.model.name, newest.model.version, newest.model.uri) == ("mine", "1", None)
    found = first_spec("mine:0", tmp_path / "home")
    assert found.suggestion.job.model.version == "0"
    assert found.suggestion.job.engine.name == "vllm"
    assert planned(found.text, tmp_path / "home").shape.layers == 30
    with pytest.raises(UnknownName, match="registered versions of it: 0, 1"):
        first_spec("mine:7", tmp_path / "home")


def test_a_folder_without_weights_is_simulated_and_says_so(tmp_path: Path) -> None:
    folder = folder_of(SHAPES / "qwen-2.5-7b.json", tmp_path / "m")
    (folder / "model.safetensors").unlink()
    found = first_spec(str(folder), tmp_path)
    assert found.suggestion.job.engine.name == "simulated"
    assert "no weights" in found.text
    assert planned(found.text, tmp_path).simulated
    with pytest.raises(BadInput, match="safetensors"):
        first_spec(str(folder), tmp_path, engine="vllm")


def test_odd_names_of_folders_become_names_and_addresses(tmp_path: Path) -> None:
    folder = folder_of(SHAPES / "smollm2-135m.json", tmp_path / 'My "Llama": 3 (ü) # x')
    found = first_spec(str(folder), tmp_path)
    plan = planned(found.text, tmp_path)
    assert plan.job.model.name == "My-Llama-3-x"
    assert plan.job.model.uri is not None
    assert "%20" in plan.job.model.uri


def test_a_snapshot_of_the_hubs_cache_has_the_models_name(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--Tiny-Llama" / "snapshots" / "0f3a"
    snapshot.parent.mkdir(parents=True)
    folder_of(SHAPES / "smollm2-135m.json", snapshot)
    assert first_spec(str(snapshot), tmp_path).suggestion.job.model.name == "Tiny-Llama"


def test_a_dataset_is_counted_and_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(SHAPES / "smollm2-135m.json", tmp_path / "m")
    (tmp_path / "few.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    monkeypatch.chdir(tmp_path)
    job = first_spec(str(folder), tmp_path, dataset="few.jsonl").suggestion.job
    assert job.dataset is not None
    assert job.dataset.path == str(tmp_path / "few.jsonl")
    assert job.flow_params.recipe == ("int_w8a8",)
    assert job.flow_params.calibration_samples == 2


def broken(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    config = json.loads((SHAPES / "smollm2-135m.json").read_text())["config"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("what", "options", "error", "words"),
    [
        ("./nowhere", {}, BadInput, "no such folder"),
        (".", {}, BadInput, "no config.json"),
        ("qwen-2.5-8b", {}, UnknownName, "did you mean 'qwen-2.5-7b'"),
        ("llama-70b", {"engine": "vllm"}, BadInput, "without weights"),
        ("llama-70b", {"engine": "vlm"}, UnknownName, "did you mean 'vllm'"),
        ("llama-70b", {"sku": "H100_3"}, UnknownName, "did you mean 'H100"),
        ("llama-70b", {"sku": "L40S_1"}, DoesNotFit, "131.4 GiB"),
        ("llama-70b", {"dataset": "/nowhere"}, BadInput, "nothing is there"),
        ("llama-70b", {"dataset": "empty.jsonl"}, BadInput, "no rows"),
        ("llama-70b", {"dataset": "table.csv"}, BadInput, "no file of .jsonl"),
        ("./pickled", {}, UnsafeInput, "pickle"),
        ("", {}, OptikitError, "."),
    ],
)
def test_bad_input_is_one_clear_error(
    what: str,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    broken(tmp_path, "pickled")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(error, match=words):
        first_spec(what, tmp_path / "home", **options)
