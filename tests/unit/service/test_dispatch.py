"""The dispatcher against journals that a test writes as drivers would; no process is started."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from optikit.admission import grant
from optikit.archive import JobArchive
from optikit.errors import ArchiveError
from optikit.service.base import Decision
from optikit.service.dispatch import Dispatcher
from optikit.spec.queue import Need, Node, QueuedJob, Team
from tests.specs import small_plan


@dataclass
class Notebook:
    """A book in memory."""

    rows: dict[str, QueuedJob] = field(default_factory=dict)
    who: dict[str, Team] = field(default_factory=dict)
    down: bool = False

    def live(self) -> list[QueuedJob]:
        if self.down:
            raise ArchiveError("the database does not answer")
        return [row for row in self.rows.values() if row.state != "ended"]

    def teams(self) -> list[Team]:
        return list(self.who.values())

    def set_state(self, job_id: str, state: Literal["queued", "started", "ended"]) -> None:
        self.rows[job_id] = self.rows[job_id].model_copy(update={"state": state})


@dataclass
class Ears:
    """Keeps what it hears."""

    events: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def heard(self, event: Mapping[str, Any]) -> None:
        self.events.append(dict(event))

    def decided(self, decision: Decision) -> None:
        self.decisions.append(decision)


class World:
    """A book, a clock, and drivers that a test plays."""

    def __init__(self, home: Path, devices: int = 8) -> None:
        self.home, self.now = home, time.time()  # as the journals'
        self.book = Notebook(who={name: Team(name=name) for name in "ab"})
        self.node = Node(name="n", kind="cpu", devices=devices)
        self.started: list[str] = []
        self.locks: dict[str, int] = {}
        self.ears = Ears()
        self.again()

    def again(self) -> None:
        """A service that was killed and started anew."""
        self.queue = Dispatcher(
            self.book,
            lambda: [self.node],
            clock=lambda: self.now,
            start=lambda archive, *_: self.started.append(archive.job_id),
            watcher=self.ears,
        )

    def job(self, team: str = "a", priority: int = 0) -> str:
        archive = JobArchive.create(self.home / team, small_plan(), {})
        self.now += 1.0
        self.book.rows[archive.job_id] = QueuedJob(
            id=archive.job_id,
            team=team,
            home=str(self.home / team),
            priority=priority,
            submitted_s=self.now,
        )
        return archive.job_id

    def archive(self, job: str) -> JobArchive:
        return JobArchive(Path(self.book.rows[job].home), job)

    def begin(self, job: str) -> None:
        """The driver of a job is up."""
        self.locks[job] = self.archive(job).lock_driver()
        self.archive(job).event("state", state="running", pid=1)

    def ask(self, job: str, stage: str = "tune", devices: int = 8) -> str:
        need = Need(
            key=f"{job}/{stage}-0",
            team="anybody",
            kind="cpu",
            devices=devices,
            since_s=self.book.rows[job].submitted_s,
        )
        self.archive(job).event("stage_asked", key=need.key, need=need.model_dump(mode="json"))
        return need.key

    def leave(self, key: str) -> None:
        self.archive(key.split("/")[0]).event("stage_left", key=key)

    def die(self, job: str) -> None:
        os.close(self.locks.pop(job))

    def end(self, job: str, state: str = "done") -> None:
        self.archive(job).event("state", state=state, exit_code=0, message="")
        self.die(job)

    def said(self, job: str, kind: str) -> list[dict[str, Any]]:
        return self.archive(job).of_kind(kind)

    def granted(self, job: str) -> bool:
        return bool(self.said(job, "stage_granted"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for lock in made.locks.values():
        os.close(lock)


def test_a_job_goes_through_the_queue(world: World) -> None:
    job = world.job()
    world.queue.once()
    assert world.started == [job]
    assert world.archive(job).ticket() is not None
    world.begin(job)
    key = world.ask(job)
    world.queue.once()
    assert [event["node"] for event in world.said(job, "stage_granted")] == ["n"]
    world.leave(key)
    world.end(job)
    world.queue.once()
    assert world.book.rows[job].state == "ended"
    assert world.queue.places("a") == []


def test_a_stage_waits_until_another_teams_is_over(world: World) -> None:
    first, second = world.job("a"), world.job("b")
    world.queue.once()
    for job in (first, second):
        world.begin(job)
    key = world.ask(first)
    world.queue.once()
    world.ask(second)
    world.queue.once()
    assert (world.granted(first), world.granted(second)) == (True, False)
    world.now += 60.0
    (place,) = world.queue.places("b")
    assert (place["stage"], place["devices"], place["waits_s"] > 0) == ("tune", 8, True)
    assert world.queue.level("a") > world.queue.level("b") == 0.0
    world.leave(key)
    world.queue.once()
    assert world.granted(second)


def test_a_teams_flood_is_no_flood_of_drivers(world: World) -> None:
    """Two of a team are at work ahead of the queue; the next starts when one holds devices."""
    jobs = [world.job("a") for _ in range(5)]
    world.queue.once()
    assert world.started == jobs[:2]
    world.begin(jobs[0])
    world.ask(jobs[0])
    world.queue.once()
    world.queue.once()
    assert world.started == jobs[:3]


def test_priority_goes_before_age_within_a_team(world: World) -> None:
    jobs = [world.job(), world.job(), world.job(priority=5)]
    world.queue.once()
    assert world.started == [jobs[2], jobs[0]]


def test_what_can_never_be_served_is_refused_in_the_journal(world: World) -> None:
    job = world.job()
    world.queue.once()
    world.begin(job)
    world.ask(job, devices=9)
    world.queue.once()
    (refused,) = world.said(job, "stage_refused")
    assert "the cluster has 1 x 8 cpu" in refused["reason"]


def test_a_killed_service_goes_on_where_it_was(world: World) -> None:
    """What runs keeps its devices, what waits its place, and what was held still counts."""
    first, second = world.job("a"), world.job("b")
    world.queue.once()
    for job in (first, second):
        world.begin(job)
    key = world.ask(first)
    world.queue.once()
    world.ask(second)
    world.queue.once()
    world.now += 3600.0
    level = world.queue.level("a")
    world.again()
    world.queue.once()
    assert not world.granted(second)
    assert world.queue.level("a") == pytest.approx(level, rel=0.2)
    world.leave(key)
    world.queue.once()
    assert world.granted(second)
    assert world.started == [first, second]


def test_a_grant_that_its_service_did_not_live_to_count_is_kept(world: World) -> None:
    job = world.job()
    world.queue.once()
    world.begin(job)
    grant(world.archive(job), world.ask(job), "n")
    world.again()
    world.queue.once()
    assert len(world.said(job, "stage_granted")) == 1
    other = world.job("b")
    world.queue.once()
    world.begin(other)
    world.ask(other)
    world.queue.once()
    assert not world.granted(other)


def test_a_dead_driver_gives_its_devices_back_and_is_started_again(world: World) -> None:
    first, second = world.job("a"), world.job("b")
    world.queue.once()
    for job in (first, second):
        world.begin(job)
    world.ask(first)
    world.queue.once()
    world.ask(second)
    world.die(first)
    world.queue.once()
    world.queue.once()
    assert world.granted(second)
    assert world.started == [first, second]
    world.now += 10.0
    world.queue.once()
    assert world.started == [first, second, first]


def test_a_driver_that_dies_again_and_again_fails_its_job(world: World) -> None:
    job = world.job()
    for _ in range(4):
        world.now += 1000.0
        world.queue.once()
        world.begin(job)
        world.queue.once()
        world.die(job)
        world.queue.once()
    world.queue.once()
    assert world.started == [job] * 4
    assert world.book.rows[job].state == "ended"
    assert "died 4 times" in world.said(job, "state")[-1]["message"]


def test_how_an_earlier_run_ended_does_not_end_a_resumed_one(world: World) -> None:
    job = world.job()
    world.archive(job).event("state", state="cancelled", exit_code=130, message="")
    world.queue.once()
    world.again()
    world.queue.once()
    assert world.book.rows[job].state == "started"
    world.begin(job)
    world.queue.once()
    world.end(job)
    world.queue.once()
    assert world.book.rows[job].state == "ended"


def test_a_driver_that_never_came_up_is_started_again(world: World) -> None:
    job = world.job()
    world.queue.once()
    world.queue.once()
    assert world.started == [job]
    world.now += 61.0
    world.queue.once()
    world.now += 10.0
    world.queue.once()
    assert world.started == [job, job]


def test_a_damaged_archive_stops_nobody_else(world: World) -> None:
    bad, good = world.job("a"), world.job("b")
    world.queue.once()
    for job in (bad, good):
        world.begin(job)
    world.archive(bad).event("stage_asked", key=f"{bad}/tune-0", need={"key": "?"})
    world.ask(good)
    world.queue.once()
    assert world.granted(good)


def test_a_grant_that_cannot_be_written_is_given_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a while."""
    job = world.job()
    world.queue.once()
    world.begin(job)
    world.ask(job)

    def full(*_: object) -> None:
        raise ArchiveError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("optikit.service.dispatch.grant", full)
        world.queue.once()
    assert not world.granted(job)
    world.queue.once()
    assert world.granted(job)


def test_a_job_whose_folder_is_gone_stops_nobody_else(world: World) -> None:
    bad = world.job("a")
    shutil.rmtree(world.archive(bad).root)
    good = world.job("a")
    world.queue.once()
    assert world.started == [good]


def test_a_database_that_is_down_for_a_while_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optikit.service.dispatch._PAUSE_S", 0.0)
    job, stop = world.job(), threading.Event()
    world.book.down = True

    def mend(_: float) -> bool:
        world.book.down = False
        if world.started:
            stop.set()
        return stop.is_set()

    monkeypatch.setattr(stop, "wait", mend)
    world.queue.run(stop)
    assert world.started == [job]


def test_teams_and_nodes_come_and_go(world: World) -> None:
    """A new team is served at its next turn; new nodes are seen within half a minute."""
    world.book.who["c"] = Team(name="c", weight=2.0)
    job = world.job("c")
    world.queue.once()
    world.begin(job)
    world.ask(job, devices=8)
    world.queue.once()
    assert world.granted(job)
    other = world.job("a")
    world.queue.once()
    world.begin(other)
    world.ask(other)
    world.queue.once()
    assert not world.granted(other)
    world.node = Node(name="m", kind="cpu", devices=8)
    world.now += 31.0
    world.queue.once()
    assert [event["node"] for event in world.said(other, "stage_granted")] == ["m"]


def test_a_job_that_cannot_be_started_keeps_no_other_team_waiting(world: World) -> None:
    bad, good = world.job("a"), world.job("b")
    (world.archive(bad).root / "plan.json").write_text("{")
    world.queue.once()
    assert world.started == [good]


def test_no_turn_begins_while_somebody_takes_a_job_out(world: World) -> None:
    job = world.job()
    turn = threading.Thread(target=world.queue.once)
    with world.queue.between_turns():
        turn.start()
        turn.join(0.1)
        assert turn.is_alive()
        world.book.set_state(job, "ended")
    turn.join(10)
    assert world.started == []


def test_a_team_that_came_since_the_last_turn_has_had_nothing(world: World) -> None:
    world.queue.once()
    assert world.queue.level("new") == 0.0
    assert world.queue.places("new") == []
