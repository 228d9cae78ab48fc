"""The verbs at a cluster, which is in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from optikit.cli import main
from optikit.core.logs import json_line
from optikit.remote import job as module
from tests.ray_cluster import ClusterDouble
from tests.specs import small_plan

PLAN = small_plan(engine="simulated")
URL = "http://head:8265"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ClusterDouble:
    monkeypatch.setenv("OPTIKIT_HOME", str(tmp_path / "home"))
    double = ClusterDouble()
    monkeypatch.setattr(module, "RayJobs", lambda address: double)
    monkeypatch.setattr(module, "_POLL_S", 0.0)
    return double


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(PLAN.job.model_dump(mode="json")))
    return str(path)


def out(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_every_verb_speaks_of_the_cluster(
    cluster: ClusterDouble, spec: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    at = ("--address", URL)
    said = out(capsys, "submit", spec, *at, "--id", "job-1", "--detach", "--json")
    assert json.loads(said) == {"id": "job-1", "address": URL, "simulated": True}
    assert out(capsys, "submit", spec, *at, "--id", "job-1", "--detach") == "job-1\n"
    cluster.becomes("job-1", "RUNNING")
    cluster.plans("job-1", PLAN)
    cluster.logs["job-1"] += "a word of the driver\n"
    status = json.loads(out(capsys, "status", "job-1", *at, "--json"))
    assert (status["state"], status["stages"][0]["name"]) == ("running", "fetch")
    assert out(capsys, "logs", "last", *at) == "a word of the driver\n"
    record = json_line(0.0, "INFO", "optikit", "it began", {"stage": "tune"})
    cluster.logs["job-1"] += f"{record}\n"
    read = "a word of the driver\n1970-01-01T00:00:00.000Z INFO optikit [tune] it began\n"
    assert out(capsys, "logs", "last", *at) == read
    assert out(capsys, "logs", "last", *at, "--raw") == f"a word of the driver\n{record}\n"
    events = json.loads(out(capsys, "logs", "job-1", *at, "--json"))
    assert "planned" in [event["kind"] for event in events]
    assert "nothing to show yet" in out(capsys, "show", "job-1", *at, code=2)
    assert json.loads(out(capsys, "trials", "job-1", *at, "--json")) == []
    (row,) = json.loads(out(capsys, "list", *at, "--json"))
    assert (row["id"], row["state"]) == ("job-1", "running")
    assert "cancelled" in out(capsys, "cancel", "job", *at)
    assert "was already cancelled" in out(capsys, "cancel", "job", *at)
    assert out(capsys, "logs", "job-1", *at, "--follow") == read
    assert not (tmp_path / "home").exists(), "nothing of it is on this machine"


def test_the_address_may_stand_in_the_environment(
    cluster: ClusterDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPTIKIT_ADDRESS", URL)
    assert "at http://head:8265" in out(capsys, "status", "job-1", code=2)
    assert "under" in out(capsys, "status", "job-1", "--address", "", code=2)


def test_progress_and_exit_code_of_a_job_on_a_cluster(
    cluster: ClusterDouble, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "submit", spec, "--address", URL, "--id", "job-1", "--detach")
    cluster.plans("job-1", PLAN)
    rejected = {"kind": "state", "state": "rejected", "exit_code": 2, "message": "no such model"}
    cluster.says("job-1", rejected)
    cluster.becomes("job-1", "FAILED", 2)
    said = out(capsys, "submit", spec, "--address", URL, "--id", "job-1", code=2)
    assert f"job job-1 was sent to {URL}" in said
    assert "job job-1: tune of m on CPU_2" in said
    assert "stage tune: running" in said
    assert "error: no such model" in said


def test_a_clusters_folder_needs_a_cluster(
    cluster: ClusterDouble, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "set OPTIKIT_HOME" in out(capsys, "submit", spec, "--home", "/h", code=2)
