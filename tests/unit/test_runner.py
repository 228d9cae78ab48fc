"""The walk over a plan with stages that do nothing; processes and engines are left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from optikit import runner
from optikit.archive import JobArchive
from optikit.engines.base import Engine
from optikit.errors import BadInput, BudgetExceeded, Cancelled, WorkerDied
from optikit.pools.inline import POOLS
from optikit.reports.summary import stages, state_of, summary
from optikit.spec.candidate import ArtifactRef
from optikit.spec.record import BenchmarkRecord, FetchRecord, Trial
from optikit.stages.base import Inputs, Tools
from tests.specs import small_plan

TRIAL = Trial.parse(
    {
        "id": "b0-baseline",
        "number": 0,
        "purpose": "benchmark",
        "variant": "baseline",
        "state": "complete",
        "model_digest": "d",
        "serving": {"max_model_len": 64},
        "rate": {
            "outcome": "pass",
            "rate_rps": 2.0,
            "preliminary": True,
            "reason": "ok",
            "method": "doubling",
            "requests": 60,
        },
    }
)


class FakeStage:
    """Answers with a record, or raises."""

    def __init__(self, name: str, error: BaseException | None = None) -> None:
        self.name, self.error, self.runs = name, error, 0

    def run(self, tools: Any, inputs: Any, plan: Any, inputs_digest: str) -> Any:
        self.runs += 1
        if self.error is not None:
            raise self.error
        if self.name == "fetch":
            model = ArtifactRef(kind="model", digest="sha256:" + "a" * 64, path="/m", size_bytes=1)
            return FetchRecord(inputs_digest=inputs_digest, model=model, dataset=None)
        return BenchmarkRecord(inputs_digest=inputs_digest, trials=(TRIAL,))


@pytest.fixture
def archive(tmp_path: Path) -> JobArchive:
    return JobArchive.create(tmp_path, small_plan(flow="benchmark"), {})


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeStage]:
    fakes = {name: FakeStage(name) for name in ("fetch", "benchmark")}
    monkeypatch.setattr(runner, "STAGES", SimpleNamespace(load=fakes.__getitem__))
    engine = SimpleNamespace(version=lambda: "1")
    nothing: Any = None
    tools = Tools(nothing, nothing, cast(Engine, engine), *[nothing] * 10)
    monkeypatch.setattr(runner, "tools_for", lambda *_: tools)
    return fakes


def test_a_job_runs_its_stages_and_says_how_it_ended(
    archive: JobArchive, staged: dict[str, FakeStage]
) -> None:
    assert runner.drive(archive, POOLS) == 0
    facts = summary(archive)
    assert (facts["state"], facts["verdict"], facts["exit_code"]) == ("done", "pass", 0)
    assert "preliminary" in facts["message"]
    assert [s["name"] for s in facts["stages"]] == ["fetch", "benchmark"]
    assert all(s["state"] == "done" and s["seconds"] >= 0 for s in facts["stages"])
    assert facts["corners"]["baseline"]["rate_rps"] == 2.0


def test_what_is_recorded_is_not_done_again(
    archive: JobArchive, staged: dict[str, FakeStage]
) -> None:
    staged["benchmark"].error = WorkerDied("gone")
    assert runner.drive(archive, POOLS) == 1
    assert state_of(archive)["state"] == "failed"
    assert [s["state"] for s in stages(archive)] == ["done", "failed"]
    staged["benchmark"].error = None
    assert runner.drive(archive, POOLS) == 0
    assert (staged["fetch"].runs, staged["benchmark"].runs) == (1, 2)
    assert [s["state"] for s in stages(archive)] == ["skipped", "done"]


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (BadInput("no text field"), "rejected", 2),
        (Cancelled("stopped"), "cancelled", 130),
        (KeyboardInterrupt(), "cancelled", 130),
        (ValueError("a bug"), "failed", 1),
    ],
)
def test_every_way_out_is_a_state(
    archive: JobArchive,
    staged: dict[str, FakeStage],
    error: BaseException,
    state: str,
    code: int,
) -> None:
    staged["fetch"].error = error
    assert runner.drive(archive, POOLS) == code
    status = state_of(archive)
    assert (status["state"], status["exit_code"]) == (state, code)
    assert status["message"]
    assert not archive.driver_alive()


def test_a_driver_that_vanished_is_interrupted(archive: JobArchive) -> None:
    archive.event("state", state="running", pid=1, pool="inline")
    assert state_of(archive)["state"] == "interrupted"


def test_a_wish_to_cancel_that_came_before_the_driver_is_honoured_once(
    archive: JobArchive, staged: dict[str, FakeStage]
) -> None:
    archive.event("cancel_asked")
    assert runner.drive(archive, POOLS) == 130
    assert state_of(archive)["state"] == "cancelled"
    assert staged["fetch"].runs == 0
    assert runner.drive(archive, POOLS) == 0  # a resume


def test_what_was_measured_ships_after_the_budgets_end(
    archive: JobArchive, staged: dict[str, FakeStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(flow="quantize", budget={"gpu_hours": 1.0})
    job = JobArchive.create(archive.home, plan, {})
    job.event("occupied", devices=1, seconds=7200)
    for name in ("fetch", "publish"):
        staged[name] = FakeStage(name)
    tools = runner.tools_for(plan, job, POOLS)
    with pytest.raises(BudgetExceeded):
        runner._run_stage("fetch", plan, job, tools, POOLS, Inputs(), "d")
    runner._run_stage("publish", plan, job, tools, POOLS, Inputs(), "d")
    assert staged["publish"].runs == 1
