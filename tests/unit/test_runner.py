"""The walk over a plan with stages that do nothing; processes and engines are left out."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from optikit import runner
from optikit.admission import grant
from optikit.archive import JobArchive
from optikit.engines.base import Engine
from optikit.errors import BadInput, BudgetExceeded, Cancelled, WorkerDied
from optikit.pools.inline import POOLS
from optikit.reports.summary import stages, state_of, summary
from optikit.spec.candidate import ArtifactRef
from optikit.spec.queue import Need, Ticket
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
    tools = Tools(nothing, nothing, cast(Engine, engine), *[nothing] * 11)
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


def test_each_stage_says_that_it_gave_everything_back(
    archive: JobArchive, staged: dict[str, FakeStage]
) -> None:
    staged["benchmark"].error = WorkerDied("gone")
    runner.drive(archive, POOLS)
    ends = archive.of_kind("teardown")
    assert [end["stage"] for end in ends] == ["fetch", "benchmark"]
    assert all(end["left"] == end["ended"] == [] and end["nodes"] == 1 for end in ends)


class Queue(threading.Thread):
    """Grants whatever is asked, after it has waited for ``asks`` of them."""

    def __init__(self, archive: JobArchive, asks: int = 1) -> None:
        super().__init__(daemon=True)
        self._archive, self._asks = archive, asks

    def run(self) -> None:
        for number in range(self._asks):
            while len(self._archive.asks()) <= number:
                time.sleep(0.001)
            key = list(self._archive.asks())[number]
            grant(self._archive, key, "node")


def test_a_queued_jobs_stages_wait_for_their_devices(
    archive: JobArchive, staged: dict[str, FakeStage]
) -> None:
    """Only those that hold some; a resumed job asks anew, under the place that it had."""
    archive.enqueue(Ticket(team="a", since_s=7.0, priority=3))
    queue = Queue(archive)
    queue.start()
    assert runner.drive(archive, POOLS) == 0
    queue.join()
    (ask,) = archive.asks().values()
    assert ask.need.key.startswith(f"{archive.job_id}/benchmark-")
    assert (ask.need.kind, ask.need.devices, ask.need.since_s) == ("cpu", 1, 7.0)
    assert ask.need.expected_s == archive.plan().stage_estimates_s["benchmark"] > 0
    assert ask.left_s is not None


def test_a_dead_drivers_place_is_given_back_by_the_next_one(
    archive: JobArchive, staged: dict[str, FakeStage]
) -> None:
    need = Need(key=f"{archive.job_id}/tune-0", team="a", kind="cpu", devices=1, since_s=0.0)
    archive.event("stage_asked", key=need.key, need=need.model_dump(mode="json"))
    grant(archive, need.key, "node")
    assert runner.drive(archive, POOLS) == 0
    assert archive.asks()[need.key].left_s is not None


def test_standing_in_line_costs_none_of_the_budget(
    archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(flow="benchmark", budget={"wall_time_s": 100.0})
    job = JobArchive.create(archive.home, plan, {})
    clock = [1000.0]
    for module in ("journal", "archive"):
        at = f"optikit.{module}.now"
        monkeypatch.setattr(at, lambda: {"t": clock[0], "up": clock[0], "boot": "b"})
    job.event("state", state="running", pid=1)
    clock[0] += 10.0
    need = Need(key="k", team="a", kind="cpu", devices=1, since_s=0.0)
    job.event("stage_asked", key="k", need=need.model_dump(mode="json"))
    clock[0] += 5000.0
    assert job.remaining_s() == pytest.approx(90.0)
    grant(job, "k", "node")
    clock[0] += 20.0
    assert job.remaining_s() == pytest.approx(70.0)


def test_a_leak_is_shown(archive: JobArchive) -> None:
    archive.event("teardown", stage="tune", left=["GPU 1 holds 20.0 GiB"])
    assert summary(archive)["left"] == ["tune: GPU 1 holds 20.0 GiB"]
    archive.event("teardown", stage="tune", left=[])
    assert summary(archive)["left"] == []
