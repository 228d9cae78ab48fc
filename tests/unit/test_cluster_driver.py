"""The driver on a cluster, run here with the inline pool."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit import cluster_driver
from optikit.archive import JobArchive
from optikit.core.eventlines import LogReader
from optikit.remote.parcel import sent_with
from optikit.runner import walk
from optikit.spec.job import OptimizationJob
from optikit.spec.submission import Submission

SPEC = OptimizationJob.parse(
    {
        "flow": "benchmark",
        "model": {"name": "qwen-2.5-7b"},
        "engine": {"name": "simulated", "flags": {"seed": 3}},
        "compute": {"sku": "H100_2"},
        "workload": {"prompt_tokens": 64, "output_tokens": 8},
        "slo": ["p95(e2e) <= 2 s"],
        "method": {"name": "doubling", "requests_per_probe": 20, "max_probes": 4},
    }
)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(
    folder: Path, capfd: pytest.CaptureFixture[str], **told: Any
) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, events and other words of one driver."""
    given = {"job": "job-1", "spec": SPEC, "pool": "inline", "home": str(folder / "home")}
    path = folder / "submission.json"
    path.write_text(Submission.parse({**given, **told}).model_dump_json())
    code = cluster_driver.main([str(path)])
    events, other = LogReader().feed(capfd.readouterr().out)
    return code, events, other


def states(events: list[dict[str, Any]]) -> list[str]:
    return [event["state"] for event in events if event["kind"] == "state"]


def test_a_job_is_planned_opened_and_driven_under_the_id_it_was_sent_with(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, events, _ = run(tmp_path, capfd, **sent_with())
    assert code == 0
    archive = JobArchive(home, "job-1")
    assert states(events) == ["starting", "starting", "running", "done"]
    assert [event["state"] for event in archive.of_kind("state")] == ["running", "done"]
    (planned,) = [event for event in events if event["kind"] == "planned"]
    assert planned["plan"] == archive.plan().model_dump(mode="json")
    assert planned["home"] == str(home)
    facts = [event["facts"] for event in events if event["kind"] == "summary"][-1]
    assert (facts["id"], facts["state"], facts["verdict"]) == ("job-1", "done", "pass")
    assert archive.environment()["sent"]["code"] == sent_with()["code"]
    assert archive.environment()["differences"] == []
    assert "ray job logs job-1" in archive.driver_log.read_text()


def test_the_same_command_again_changes_nothing_that_is_done(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, capfd)
    before = JobArchive(home, "job-1").journal.read_bytes()
    code, events, _ = run(tmp_path, capfd)
    assert code == 0
    assert JobArchive(home, "job-1").journal.read_bytes() == before
    assert states(events)[-1] == "done"
    assert events[-1]["kind"] == "summary"


def test_the_same_command_again_goes_on_with_what_was_interrupted(
    tmp_path: Path,
    home: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies(*parts: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("optikit.runner.walk", dies)
    assert run(tmp_path, capfd)[0] == 130
    monkeypatch.setattr("optikit.runner.walk", walk)
    code, events, _ = run(tmp_path, capfd)
    assert code == 0
    assert states(events) == ["starting", "running", "cancelled", "starting", "running", "done"]
    assert len(JobArchive(home, "job-1").of_kind("created")) == 1


def test_what_a_crash_left_of_an_archive_is_written_again(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (home / "jobs" / "job-1").mkdir(parents=True)
    (home / "jobs" / "job-1" / "job.json").write_text("{")
    assert run(tmp_path, capfd)[0] == 0


def test_another_spec_under_the_same_id_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, capfd)
    other = {**SPEC.model_dump(mode="json"), "compute": {"sku": "H100_1"}}
    code, events, _ = run(tmp_path, capfd, spec=other)
    assert code == 2
    assert states(events)[-1] == "rejected"
    assert "job of another spec" in events[-1]["message"]


def test_what_the_cluster_lacks_is_said_with_its_place(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = {**SPEC.model_dump(mode="json"), "engine": {"name": "vllm"}}
    code, events, _ = run(tmp_path, capfd, spec=spec)
    assert (code, states(events)) == (2, ["starting", "rejected"])
    assert "on the cluster (" in events[-1]["message"]
    assert "optikit models add PATH" in events[-1]["message"]
    assert not (home / "jobs").exists()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"python": "2.7.18"}, "sent by Python 2.7.18"),
        ({"packages": {"ray": "0.1"}}, "sent with Ray 0.1"),
        ({"code": "sha256:0"}, "not what was sent"),
    ],
)
def test_another_environment_is_refused_at_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], told: dict[str, Any], words: str
) -> None:
    code, events, _ = run(tmp_path, capfd, **told)
    assert code == 2
    assert words in events[-1]["message"]


def test_harmless_differences_stand_in_the_archive(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, capfd, packages={"numpy": "0.1"})
    archive = JobArchive(home, "job-1")
    (text,) = archive.environment()["differences"]
    assert text.startswith("numpy ")
    assert text.endswith("0.1 where the job was sent")
    assert text in [event["text"] for event in archive.of_kind("note")]


def test_a_home_that_vanishes_with_the_job_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIKIT_HOME", ".optikit")
    code, events, _ = run(tmp_path, capfd, home=None)
    assert code == 2
    assert "OPTIKIT_HOME on the cluster is .optikit" in events[-1]["message"]


@pytest.mark.parametrize("text", ["{", "[]", '{"job": "j"}'])
def test_what_is_no_submission(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    assert cluster_driver.main([str(path)]) == 2
    events, _ = LogReader().feed(capfd.readouterr().out)
    assert "submission" in events[-1]["message"]
    assert cluster_driver.main([]) == 2


def test_a_signal_before_the_job_began_is_a_cancel(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(submission: Any) -> list[str]:
        signal.raise_signal(signal.SIGTERM)
        return []

    monkeypatch.setattr(cluster_driver, "arrived", told)
    code, events, _ = run(tmp_path, capfd)
    assert (code, states(events)) == (130, ["starting", "cancelled"])


def test_no_secret_of_the_cluster_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is for all who use the cluster."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_cluster")
    folder = tmp_path / "hf_secret_of_the_cluster.json"
    assert cluster_driver.main([str(folder)]) == 2
    said = capfd.readouterr().out
    assert "cannot read the submission" in said
    assert "hf_secret" not in said


def test_the_check_on_arrival_needs_the_standard_library_alone() -> None:
    """What is missing on a cluster can only be said by what does not need it."""
    code = """
import sys, json
import optikit.cluster_driver
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert loaded & {"pydantic", "yaml", "numpy", "ray", "rich", "aiohttp"} == set()
