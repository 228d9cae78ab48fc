"""What every runner promises."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from optikit.errors import BudgetExceeded, EngineDied, OptikitError, StageFailed, WorkerDied
from optikit.pools.base import Pool, Resources
from optikit.runners.base import Launch, Runner, Search
from optikit.spec.record import Usage

__all__ = ["Answer", "ListSearch", "RunnerContract", "launch_of"]


@dataclass(frozen=True)
class Answer:
    """What a trial of these tests says."""

    pid: int
    startup_s: float = 0.0
    measuring_s: float = 0.0
    teardown_s: float = 0.0
    fitness: float = 1.0


def answer(seconds: float = 0.0) -> Answer:
    """A trial that measures for so long."""
    time.sleep(seconds)
    return Answer(pid=os.getpid(), measuring_s=seconds)


def refuse(word: str) -> Answer:
    """A trial whose engine dies."""
    raise EngineDied(f"died of {word}")


def die() -> Answer:
    """A trial whose worker ends without an answer."""
    os._exit(9)


def launch_of(
    trial_id: str,
    devices: int,
    task: Callable[..., Any] = answer,
    *args: Any,
    gpus: int = 0,
    expected_s: float | None = None,
) -> Launch:
    """A trial of these tests; its devices are pretended unless ``gpus`` says otherwise."""
    resources = Resources(cpus=1.0, gpus=gpus)
    return Launch(trial_id, devices, resources, expected_s, task, args)


@dataclass
class ListSearch:
    """A search that gives launches in order, and writes down what happens."""

    launches: Sequence[Launch]
    folder: Path
    events: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    at_next: Callable[[int], None] = lambda given: None
    """Called with the number of launches given before."""

    def __post_init__(self) -> None:
        self._given = 0

    @property
    def finished(self) -> bool:
        """All were given."""
        return self._given == len(self.launches)

    def next(self, free: int) -> Launch | None:
        """The next of the list."""
        assert free > 0
        self.at_next(self._given)
        if self.finished:
            return None
        self._given += 1
        return self.launches[self._given - 1]

    def start(self, launch: Launch) -> None:
        """Noted."""
        self.events.append(("start", launch.trial_id))

    def done(self, launch: Launch, answer: Any, occupied_s: float) -> None:
        """Noted; it came after the start, once."""
        assert ("start", launch.trial_id) in self.events
        assert launch.trial_id not in self.answers
        assert occupied_s >= 0
        self.events.append(("done", launch.trial_id))
        self.answers[launch.trial_id] = answer


def _for_ever() -> float:
    return math.inf


class RunnerContract:
    """Inherit and give ``runner`` and ``pool``."""

    isolated: ClassVar[bool] = True
    """False: the pool's tasks run in this process, one at a time."""

    @pytest.fixture
    def runner(self) -> Runner:
        """The runner under test."""
        raise AssertionError("override the fixture 'runner'")

    @pytest.fixture
    def pool(self) -> Iterator[Pool]:
        """An open pool."""
        raise AssertionError("override the fixture 'pool'")

    def run(self, runner: Runner, pool: Pool, search: Search, devices: int = 4) -> Usage:
        """Run without a bound of time."""
        return runner.run(search, pool, devices, _for_ever)

    def test_errors_are_answers_and_all_run_once(
        self, runner: Runner, pool: Pool, tmp_path: Path
    ) -> None:
        """A trial that fails is no end."""
        launches = [
            launch_of("t0", 1),
            launch_of("t1", 4),
            launch_of("t2", 2, refuse, "thirst"),
            launch_of("t3", 1, answer, 0.05),
        ]
        search = ListSearch(launches, tmp_path / "search")
        usage = self.run(runner, pool, search)
        assert sorted(search.answers) == ["t0", "t1", "t2", "t3"]
        assert isinstance(search.answers["t2"], EngineDied)
        assert str(search.answers["t2"]) == "died of thirst"
        good = [search.answers[name] for name in ("t0", "t1", "t3")]
        assert all(isinstance(found, Answer) for found in good)
        assert usage.trials == 4
        assert usage.devices == 4
        assert 0 < usage.measuring <= usage.reserved <= 1
        assert usage.measuring == pytest.approx(0.05 / (4 * usage.wall_s), rel=1e-6)
        if self.isolated:
            assert len({found.pid for found in good} | {os.getpid()}) == 4

    def test_a_dead_worker_is_an_answer(self, runner: Runner, pool: Pool, tmp_path: Path) -> None:
        """And the next trial runs."""
        if not self.isolated:
            pytest.skip("this pool has no workers")
        search = ListSearch([launch_of("t0", 4, die), launch_of("t1", 4)], tmp_path / "search")
        self.run(runner, pool, search)
        assert isinstance(search.answers["t0"], WorkerDied)
        assert isinstance(search.answers["t1"], Answer)

    def test_nothing_to_run_is_a_run(self, runner: Runner, pool: Pool, tmp_path: Path) -> None:
        """Of no trials."""
        usage = self.run(runner, pool, ListSearch([], tmp_path / "search"))
        assert (usage.trials, usage.reserved, usage.measuring) == (0, 0.0, 0.0)

    @pytest.mark.parametrize("error", [BudgetExceeded("no time"), StageFailed("hopeless")])
    def test_what_the_search_raises_ends_the_run(
        self, runner: Runner, pool: Pool, tmp_path: Path, error: OptikitError
    ) -> None:
        """Trials that had answered are told."""

        def at_next(given: int) -> None:
            if search.answers:
                raise error

        launches = [launch_of(f"t{n}", 4) for n in range(6)]
        search = ListSearch(launches, tmp_path / "search", at_next=at_next)
        with pytest.raises(type(error), match=str(error)):
            self.run(runner, pool, search)
        # it may have asked ahead; which of those that run together answers first is not promised
        assert 1 <= len(search.answers) < 6
        assert all(("start", name) in search.events for name in search.answers)
        assert all(isinstance(found, Answer) for found in search.answers.values())

    def test_the_end_of_the_jobs_time_ends_the_run(
        self, runner: Runner, pool: Pool, tmp_path: Path
    ) -> None:
        """What runs may still answer."""
        search = ListSearch([launch_of(f"t{n}", 4) for n in range(50)], tmp_path / "search")

        def left_s() -> float:
            if search.answers:
                raise BudgetExceeded("no time")
            return 100.0

        def at_next(given: int) -> None:
            left_s()

        search.at_next = at_next
        with pytest.raises(BudgetExceeded, match="no time"):
            runner.run(search, pool, 4, left_s)
        assert 1 <= len(search.answers) <= 4
        started = [name for what, name in search.events if what == "start"]
        assert sorted(search.answers) == sorted(started)
