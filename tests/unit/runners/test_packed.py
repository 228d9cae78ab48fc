"""The loop on a pool whose tasks end when the test says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from optikit.errors import BudgetExceeded, DoesNotFit, EngineDied, OptikitError, StageFailed
from optikit.pools import POOLS
from optikit.pools.base import Resources
from optikit.runners import packed
from optikit.runners.base import Launch
from optikit.testing.runners import Answer, ListSearch, launch_of

RUNNER = packed.RUNNER


class Later:
    """Answers of tasks arrive when ``tick`` is called, oldest first; at most so many a tick."""

    def __init__(self, at_once: int = 1) -> None:
        self.live: list[tuple[str, Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.nodes: list[str | None] = []
        self.most = 0
        self.at_once = at_once

    def submit(self, task: Callable[..., Any], *args: Any, resources: Resources) -> Future[Any]:
        future: Future[Any] = Future()
        self.live.append(("", future, task, args))
        self.nodes.append(resources.node)
        self.most = max(self.most, len(self.live))
        return future

    def tick(self) -> float:
        """Stands in for the clock: seconds left, after the next answers came."""
        for _ in range(min(self.at_once, len(self.live))):
            _, future, task, args = self.live.pop(0)
            try:
                future.set_result(task(*args))
            except OptikitError as error:
                future.set_exception(error)
        return math.inf


def measured(seconds: float = 1.0) -> Answer:
    return Answer(pid=0, startup_s=seconds, measuring_s=2 * seconds, teardown_s=seconds)


def died() -> Answer:
    raise EngineDied("gone")


def launches(*devices: int, task: Callable[..., Any] = measured) -> list[Launch]:
    return [launch_of(f"t{n}", count, task) for n, count in enumerate(devices)]


def test_trials_share_the_devices_without_a_barrier(tmp_path: Path) -> None:
    pool = Later()
    search = ListSearch(launches(2, 1, 1, 4, 2, 2), tmp_path)
    usage = RUNNER.run(search, pool, 4, pool.tick)
    assert pool.most == 3
    assert usage.trials == len(search.answers) == 6
    first_done = search.events.index(("done", "t0"))
    assert search.events[:first_done] == [("start", f"t{n}") for n in range(3)]


def test_every_trial_is_told_its_node_where_nodes_are_named(tmp_path: Path) -> None:
    pool = Later(at_once=9)
    search = ListSearch(launches(4, 2, 4), tmp_path)
    RUNNER.run(search, pool, {"a": 4, "b": 4}, pool.tick)
    assert sorted(name or "" for name in pool.nodes) == ["a", "a", "b"]
    plain = Later(at_once=9)
    RUNNER.run(ListSearch(launches(4, 2, 4), tmp_path), plain, 4, plain.tick)
    assert plain.nodes == [None, None, None]


def test_a_pool_that_answers_at_once_is_asked_one_by_one(tmp_path: Path) -> None:
    """So that a sampler knows every result before, and the same seed gives the same search."""
    search = ListSearch(launches(1, 8, 2, 1), tmp_path)
    known: list[int] = []
    search.at_next = lambda given: known.append(len(search.answers))
    with POOLS.load("inline").open("test") as pool:
        RUNNER.run(search, pool, 8, lambda: math.inf)
    assert known == [0, 1, 2, 3]


def test_a_search_that_has_nothing_now_is_asked_again_after_an_answer(tmp_path: Path) -> None:
    class Shy(ListSearch):
        def next(self, free: int) -> Launch | None:
            return super().next(free) if len(self.answers) >= self._given else None

    pool = Later()
    search = Shy(launches(1, 1, 1), tmp_path)
    RUNNER.run(search, pool, 4, pool.tick)
    assert pool.most == 1
    assert len(search.answers) == 3


def test_a_failed_trial_may_be_given_again(tmp_path: Path) -> None:
    class Stubborn(ListSearch):
        again: bool = False

        @property
        def finished(self) -> bool:
            return super().finished and not self.again

        def next(self, free: int) -> Launch | None:
            if self.again:
                self.again = False
                return launch_of("t0", 1, measured)
            return super().next(free)

        def done(self, launch: Launch, answer: Any, occupied_s: float) -> None:
            if isinstance(answer, EngineDied):
                self.again = True
            else:
                super().done(launch, answer, occupied_s)

    pool = Later()
    search = Stubborn([launch_of("t0", 1, died)], tmp_path)
    usage = RUNNER.run(search, pool, 4, pool.tick)
    assert isinstance(search.answers["t0"], Answer)
    assert usage.trials == 2


def test_at_the_end_of_time_those_that_run_have_their_last_words(tmp_path: Path) -> None:
    pool = Later(at_once=1)
    search = ListSearch(launches(1, 1, 1, 1, 1), tmp_path)
    calls: list[float] = []

    def left_s() -> float:
        calls.append(0.0)
        if len(calls) == 2:
            pool.at_once = 9
            pool.tick()
            raise BudgetExceeded("no time")
        return pool.tick()

    with pytest.raises(BudgetExceeded):
        RUNNER.run(search, pool, 2, left_s)
    assert sorted(search.answers) == ["t0", "t1", "t2"]


@pytest.mark.parametrize("error", [StageFailed("hopeless"), KeyboardInterrupt()])
def test_any_other_end_waits_for_nobody_but_hears_who_answered(
    tmp_path: Path, error: BaseException
) -> None:
    pool = Later(at_once=2)
    search = ListSearch(launches(1, 1, 1, 1), tmp_path)
    calls: list[float] = []

    def left_s() -> float:
        calls.append(0.0)
        left = pool.tick()
        if len(calls) == 1:
            pool.submit(measured, resources=Resources())  # somebody else's, never awaited
        if calls[1:]:
            raise error
        return left

    with pytest.raises(type(error)):
        RUNNER.run(search, pool, 3, left_s)
    assert sorted(search.answers) == ["t0", "t1", "t2"]
    assert ("start", "t3") in search.events


def test_a_trial_that_no_node_holds_is_refused_before_it_starts(tmp_path: Path) -> None:
    pool = Later()
    search = ListSearch(launches(8), tmp_path)
    with pytest.raises(DoesNotFit, match="t0 asks for 8 devices"):
        RUNNER.run(search, pool, {"a": 4, "b": 4}, pool.tick)
    assert search.events == []


def test_the_measuring_share_is_what_the_answers_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    pool = Later()

    def left_s() -> float:
        now[0] += 10.0
        return pool.tick()

    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("optikit.runners.packed.time", clock)
    usage = RUNNER.run(ListSearch(launches(2, 4), tmp_path), pool, 4, left_s)
    assert usage.wall_s == 20.0
    assert usage.reserved == (2 * 10 + 4 * 10) / (4 * 20)
    assert usage.measuring == (2 * 2 + 4 * 2) / (4 * 20)
    assert usage.overhead_s == 10.0 - 4.0
