"""A real MLflow server as tracker and registry, there and not there; what it missed, told again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from optikit.adapters.mlflow import SERVER, tracking
from optikit.errors import OptikitError
from optikit.trackers.mlflow import TRACKER
from tests.mlflow_server import mlflow_server

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]

OPTIKIT = str(Path(sys.executable).with_name("optikit"))
NOBODY = "http://127.0.0.1:9"
SPEC: dict[str, Any] = {
    "flow": "tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "flow_params": {"num_trials": 2, "space": {"tensor_parallel": [2]}},
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 500 ms"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


def optikit(home: Path, url: str, *argv: str) -> str:
    done = subprocess.run(
        [OPTIKIT, *argv],
        env={**os.environ, "OPTIKIT_HOME": str(home), SERVER: url},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def submitted(home: Path, url: str) -> str:
    """Id of a job that ended."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "job.yaml").write_text(yaml.safe_dump(SPEC))
    optikit(home, url, "submit", str(home / "job.yaml"), "--pool", "inline")
    (job,) = (home / "jobs").iterdir()
    return job.name


def told(url: str, job: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> list[Any]:
    """What the server has of a job: name without the id, params, metrics, own tags of each run."""
    monkeypatch.setenv(SERVER, url)
    with tracking(home) as store:
        found = store._client.search_runs([store._experiment_id], max_results=1000)
    rows = []
    for run in found:
        name = str(run.data.tags["mlflow.runName"])
        if not name.startswith(job):
            continue
        tags = {
            key: value.replace(job, "JOB")
            for key, value in run.data.tags.items()
            if not key.startswith("mlflow.")
        }
        facts = [run.info.status, run.data.params, run.data.metrics, tags]
        rows.append([name.removeprefix(job), *facts])
    return sorted(rows, key=lambda row: str(row[0]))


def test_a_job_and_its_trials_are_runs_of_the_server(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(tmp_path / "home", server)
    rows = told(server, job, monkeypatch, tmp_path / "home")
    assert rows[0][0] == ""
    assert len(rows) >= 4, "the job, the default configuration, two trials"
    assert rows[0][3]["rate_rps"] > 0
    assert rows[0][4]["sku"] == "H100_2"
    assert not (tmp_path / "home" / "mlflow.db").exists()


def test_a_server_that_was_down_costs_the_job_nothing_and_is_told_later(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same job, told at its end and told later: the same runs."""
    at_once, later = tmp_path / "one" / "home", tmp_path / "two" / "home"
    first = submitted(at_once, server)
    second = submitted(later, NOBODY)
    assert told(server, second, monkeypatch, later) == []
    lines = (later / "jobs" / second / "journal.jsonl").read_text().splitlines()
    assert any('"tracker_failed"' in line for line in lines)
    found = json.loads(optikit(later, server, "archive", "sync", "last", "--json"))
    assert found == [{"job_id": second, "version": None, "left_out": None}]
    one = told(server, first, monkeypatch, at_once)
    two = told(server, second, monkeypatch, later)
    assert [row[0] for row in one] == [row[0] for row in two]
    for mine, its in zip(one, two, strict=True):
        timing = {"startup_s", "measuring_s"}  # wall times of two jobs
        assert mine[1:3] == its[1:3]
        assert {k: v for k, v in mine[3].items() if k not in timing} == {
            k: v for k, v in its[3].items() if k not in timing
        }
        assert mine[4] == its[4]
    optikit(later, server, "archive", "sync")
    assert told(server, second, monkeypatch, later) == two, "told twice, there once"
    optikit(later, server, "archive", "check", "last")


def test_a_version_points_at_what_the_server_keeps_and_has_its_aliases(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, server)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "certificate.json").write_text('{"x": 1}')
    tags = {"status": "certified", "recipe": "int_w8a8"}
    made = [
        TRACKER.record(tmp_path, f"v{number}", {}, {}, [], bundle, "served-model", tags)
        for number in (1, 2)
    ]
    assert made == ["1", "2"]
    preliminary = {**tags, "status": "preliminary"}
    assert TRACKER.record(tmp_path, "v3", {}, {}, [], bundle, "served-model", preliminary) == "3"
    with tracking(tmp_path) as store:
        client = store._client
        assert client.get_model_version_by_alias("served-model", "certified").version == "2"
        newest = client.get_model_version_by_alias("served-model", "candidate")
        assert newest.version == "3"
        assert newest.tags["recipe"] == "int_w8a8"
        files = client.list_artifacts(newest.run_id, "bundle")
    assert [file.path for file in files] == ["bundle/certificate.json"]


def test_a_server_that_is_down_is_one_error_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, NOBODY)
    with pytest.raises(OptikitError, match=f"MLflow at {NOBODY}"):
        TRACKER.record(tmp_path, "j", {}, {}, [], None, "m", {})
