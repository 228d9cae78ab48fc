"""One whole job with everything around it: model and data on S3, a bundle that goes back there, an
MLflow server, a receiver of traces, logs as JSON, the engine's own metrics, and an export."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from optikit.adapters.mlflow import SERVER, tracking
from optikit.core.scrapes import FILE, unpacked
from optikit.stores.remote import RemoteStore
from tests.mlflow_server import mlflow_server
from tests.models import tiny_llama
from tests.object_store import ObjectStore, object_store
from tests.otlp_receiver import Received, attributes_of, receiver
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
def received() -> Iterator[Received]:
    """What a receiver of traces got."""
    with receiver() as found:
        yield found


@pytest.fixture(scope="module")
def surroundings(store: ObjectStore, server: str, received: Received) -> dict[str, str]:
    return {
        **os.environ,
        **store.environment(),
        SERVER: server,
        "RAY_AUTH_MODE": "disabled",
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.url,
        "OPTIKIT_LOG_FORMAT": "json",
    }


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


@pytest.fixture(scope="module")
def trials(home: Path, surroundings: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        optikit(home, surroundings, "trials", "last", "--json")
    )
    return found


def requests_of(folder: Path, number: int) -> list[dict[str, Any]]:
    lines = (folder / f"probe-{number:02d}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_each_trial_keeps_what_its_server_said_and_it_is_what_the_client_did(
    home: Path, shown: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    """By vLLM's own counters: as many requests and tokens as the client sent and got."""
    measured = [trial for trial in trials if trial["rate"]]
    assert len(measured) >= 2
    for trial in measured:
        said = trial["engine_metrics"]
        assert said["notes"] == [], trial["id"]
        assert said["failed"] == 0
        assert [p["probe"] for p in said["probes"]] == [
            p["number"] for p in trial["rate"]["probes"]
        ]
        folder = home / "jobs" / shown["id"] / "trials" / trial["id"]
        for one in said["probes"]:
            rows = requests_of(folder, one["probe"])
            whole = [row for row in rows if row["end_s"] is not None and "error" not in row]
            assert one["requests"] == one["client_requests"] == len(whole) > 0
            assert one["client_generation_tokens"] == sum(r["output_tokens"] for r in whole)
            if len(whole) == len(rows):
                assert one["difference"] == 0.0
                assert one["prompt_tokens"] == sum(row["prompt_tokens"] for row in rows)
            assert one["preemptions"] == 0
            assert one["generation_tokens_per_s"] > 0
        assert 0 < (folder / FILE).stat().st_size < 1 << 20
        kept = unpacked((folder / FILE).read_bytes(), FILE)
        assert kept.families["vllm:kv_cache_usage_perc"][0] == "gauge"
        ends = [s.when for s in kept.scrapes if s.probe == said["probes"][-1]["probe"]]
        assert (ends[0], ends[-1]) == ("before", "after")
        last = kept.scrapes[-1].values
        first = kept.scrapes[0].values
        (name,) = [n for n in last if n.startswith("vllm:request_success_total") and "length" in n]
        asked = sum(p["requests"] for p in said["probes"])
        assert last[name] - first[name] >= asked, "beside them those that a probe settled with"


def test_the_receiver_has_the_trace_and_every_record_of_the_log_is_of_it(
    home: Path, shown: dict[str, Any], received: Received, trials: list[dict[str, Any]]
) -> None:
    until = time.monotonic() + 30
    while not received.requests:
        assert time.monotonic() < until, "no trace came"
        time.sleep(0.2)
    spans = {span.span_id.hex(): span for span in received.spans}
    (trace_id,) = {span.trace_id.hex() for span in received.spans}
    (root,) = [span for span in spans.values() if not span.parent_span_id]
    assert attributes_of(root)["optikit.job.id"] == shown["id"]
    log = (home / "jobs" / shown["id"] / "driver.log").read_text()
    lines = log.splitlines()
    plain = [line for line in lines if not line.startswith("{")]
    assert all("git" in line for line in plain), "a library asks git, which prints by itself"
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert {record["job"] for record in records} == {shown["id"]}
    assert {record["trace_id"] for record in records} == {trace_id}
    of = {record["span_id"] for record in records if "span_id" in record}
    assert of <= set(spans), "the ids that the trace has"
    for trial in trials:
        mine = [r for r in records if r.get("trial") == trial["id"] and r.get("attempt")]
        (span_id,) = {record["span_id"] for record in mine}
        assert attributes_of(spans[span_id])["optikit.trial.id"] == trial["id"]
        assert {record["attempt"] for record in mine} == {1}
        assert any(r["logger"] == "engine" and "Application startup" in r["message"] for r in mine)


def test_the_log_is_read_by_people_too(
    home: Path, shown: dict[str, Any], surroundings: dict[str, str]
) -> None:
    text = optikit(home, surroundings, "logs", "last")
    assert "optikit.journal [fetch] stage: stage=fetch state=running" in text
    assert '"timestamp"' not in text
    raw = optikit(home, surroundings, "logs", "last", "--raw")
    assert raw == (home / "jobs" / shown["id"] / "driver.log").read_text()


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
