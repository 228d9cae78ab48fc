"""One whole job with everything around it: model and data on S3, a bundle that goes back there, and
an MLflow server that is there, or is told later."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from optikit.adapters.mlflow import SERVER, tracking
from optikit.stores.remote import RemoteStore
from tests.mlflow_server import mlflow_server
from tests.models import tiny_llama
from tests.object_store import ObjectStore, object_store
from tests.running import OPTIKIT, ROOT, SPEC

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server with the model and the dataset."""
    model = tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")
    with object_store(tmp_path_factory.mktemp("s3") / "server") as found:
        client = found.client()
        for bucket in ("models", "datasets", "bundles"):
            client.create_bucket(Bucket=bucket)
        for path in model.iterdir():
            client.upload_file(str(path), "models", f"tiny/v1/{path.name}")
        for path in (ROOT / "examples/data/calibration").glob("*.jsonl"):
            client.upload_file(str(path), "datasets", f"calibration/{path.name}")
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="module")
def surroundings(store: ObjectStore, server: str) -> dict[str, str]:
    return {**os.environ, **store.environment(), SERVER: server, "RAY_AUTH_MODE": "disabled"}


def optikit(home: Path, environment: dict[str, str], *argv: str) -> str:
    done = subprocess.run(
        [OPTIKIT, *argv],
        env={**environment, "OPTIKIT_HOME": str(home)},
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]) -> Path:
    """A home with one job that ended."""
    folder = tmp_path_factory.mktemp("edges")
    spec: dict[str, Any] = {
        **SPEC,
        "model": {"name": "tiny", "uri": "s3://models/tiny/v1"},
        "dataset": {"path": "s3://datasets/calibration"},
        "publish": {"uri": "s3://bundles/tiny"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(spec))
    optikit(folder / "home", surroundings, "submit", "job.yaml", "--pool", "process")
    return folder / "home"


@pytest.fixture(scope="module")
def shown(home: Path, surroundings: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(optikit(home, surroundings, "show", "last", "--json"))
    return found


def test_the_bundle_is_where_the_job_said_and_comes_back_checked(
    home: Path, shown: dict[str, Any], store: ObjectStore, tmp_path: Path
) -> None:
    prefix = f"tiny/{shown['id']}/"
    listed = store.client().list_objects_v2(Bucket="bundles", Prefix=prefix)["Contents"]
    there = {entry["Key"].removeprefix(prefix): entry["Size"] for entry in listed}
    bundle = Path(shown["bundle"])
    files = [path for path in bundle.rglob("*") if path.is_file()]
    here = {path.relative_to(bundle).as_posix(): path.stat().st_size for path in files}
    assert {name: size for name, size in there.items() if name != "SHA256SUMS"} == here
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        address = f"s3://bundles/{prefix}model"
        came = RemoteStore(tmp_path).bring(address, "model").artifact
    assert (Path(came.path) / "model.safetensors").stat().st_size == here["model/model.safetensors"]


def test_the_server_has_the_run_and_the_version_with_its_alias(
    home: Path, shown: dict[str, Any], server: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SERVER, server)
        with tracking(home) as told:
            version = told._client.get_model_version_by_alias("tiny-int_w8a8", "candidate")
            run = told._client.get_run(version.run_id)
    assert run.data.tags["optikit.job_id"] == shown["id"]
    assert version.tags["recipe"] == "int_w8a8"
    assert version.tags["sku"] == "CPU_2"
    assert version.tags["bundle"] == shown["bundle"]
    assert float(version.tags["certified_rate_rps"]) > 0


def test_nothing_secret_is_in_the_home(home: Path, store: ObjectStore) -> None:
    needle = store.secret.encode()
    found = [p for p in home.rglob("*") if p.is_file() and needle in p.read_bytes()]
    assert found == []


def test_the_archive_holds(home: Path, surroundings: dict[str, str]) -> None:
    optikit(home, surroundings, "archive", "check", "last")


def test_its_server_for_kubernetes_is_valid_and_starts_what_was_measured(
    home: Path, shown: dict[str, Any], surroundings: dict[str, str]
) -> None:
    argv = ("export", "last", "--to", "kubernetes")
    refused = subprocess.run(
        [OPTIKIT, *argv],
        env={**surroundings, "OPTIKIT_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 2, "a quick search gives a preliminary certificate"
    assert "--allow-uncertified" in refused.stderr
    text = optikit(home, surroundings, *argv, "--allow-uncertified")
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        kubernetes_validate.validate(document, "1.34", strict=True)
    deployment = next(one for one in documents if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    words = [*container["command"], *container.get("args", [])]
    serving = yaml.safe_load((Path(shown["bundle"]) / "serving.yaml").read_text())
    assert f"--max-num-seqs {serving['serving']['max_num_seqs']}" in " ".join(words)
    notes = deployment["metadata"]["annotations"]
    assert notes["optikit/status"] == "preliminary"
    assert notes["optikit/job"] == shown["id"]
