"""What of the queue can be watched: its figures, and each event once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.service.test_dispatch import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for lock in made.locks.values():
        os.close(lock)


def states(world: World) -> list[str]:
    return [str(event["state"]) for event in world.ears.events if event["kind"] == "state"]


def test_the_figures_are_those_of_the_moment(world: World) -> None:
    first, second = world.job("a"), world.job("b")
    facts = world.queue.facts()
    assert (dict(facts.jobs), dict(facts.nodes)) == ({}, {"cpu": (1, 8)})
    world.queue.once()
    for job in (first, second):
        world.begin(job)
    key = world.ask(first, devices=6)
    world.queue.once()
    world.ask(second, devices=4)
    world.queue.once()
    world.now += 100.0
    facts = world.queue.facts()
    assert facts.jobs["a", "running"] == facts.jobs["b", "running"] == 1
    assert facts.jobs["a", "queued"] == 0, "what may come is there as 0"
    assert dict(facts.held) == {("a", "cpu"): 6, ("b", "cpu"): 0}
    assert dict(facts.waiting) == {("a", "cpu"): 0, ("b", "cpu"): 4}
    assert facts.oldest_wait_s["cpu"] == pytest.approx(102.0, abs=5.0)
    assert facts.longest_silence_s == pytest.approx(102.0, abs=5.0), "of the first job"
    assert facts.turned_s == world.now - 100.0
    world.leave(key)
    world.end(first)
    world.queue.once()
    world.queue.once()  # it hears of its own grant
    facts = world.queue.facts()
    assert dict(facts.held) == {("a", "cpu"): 0, ("b", "cpu"): 4}
    assert facts.oldest_wait_s == {}
    assert facts.jobs["a", "running"] == 0
    assert world.ears.decisions == [*["driver_started"] * 2, *["granted"] * 2]


def test_a_team_that_is_gone_is_no_label(world: World) -> None:
    job = world.job("a")
    del world.book.who["a"]
    world.queue.once()
    assert world.queue.facts().jobs["removed", "starting"] == 1
    assert job in world.started


def test_each_event_is_heard_once_also_where_a_job_is_resumed_or_the_service_killed(
    world: World,
) -> None:
    job = world.job()
    world.queue.once()
    world.begin(job)
    world.queue.once()
    world.end(job, "failed")
    world.queue.once()
    assert states(world) == ["starting", "running", "failed"]
    world.queue.once()
    world.book.set_state(job, "queued")
    world.queue.once()
    world.begin(job)
    world.queue.once()
    assert states(world) == ["starting", "running", "failed", "starting", "running"]
    world.again()
    world.queue.once()
    world.end(job)
    world.queue.once()
    assert states(world)[5:] == ["done"]


def test_a_job_that_was_cancelled_in_the_queue_has_ended_too(world: World) -> None:
    jobs = [world.job() for _ in range(4)]
    world.queue.once()
    waits = next(job for job in jobs if job not in world.started)
    world.archive(waits).event("state", state="cancelled", exit_code=130, message="")
    world.book.set_state(waits, "ended")
    world.queue.once()
    assert states(world).count("cancelled") == 1


def test_a_refusal_and_a_death_are_decisions(world: World) -> None:
    job = world.job()
    world.queue.once()
    world.begin(job)
    world.ask(job, devices=99)
    world.queue.once()
    world.die(job)
    world.queue.once()
    assert world.ears.decisions == ["driver_started", "refused", "driver_died"]
