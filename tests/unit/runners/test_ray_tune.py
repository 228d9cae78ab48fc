"""What stands between a search and Ray Tune; tests/integration runs both."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from optikit.adapters import ray_tune as adapter
from optikit.errors import BadInput, BudgetExceeded, EngineDied, WorkerDied
from optikit.pools.base import answer_of
from optikit.runners import ray_tune
from optikit.testing.runners import Answer, ListSearch, answer, launch_of, refuse


def source(search: ListSearch, devices: int = 4, left_s: float = math.inf) -> ray_tune._Source:
    def left() -> float:
        if left_s <= 0:
            raise BudgetExceeded("no time")
        return left_s

    return ray_tune._Source(search, devices, left)


def test_it_is_asked_only_while_devices_are_idle(tmp_path: Path) -> None:
    search = ListSearch([launch_of(f"t{n}", 2, gpus=2) for n in range(4)], tmp_path)
    found = source(search)
    first, second, waits = (found.next(n) for n in range(3))
    assert first is not None
    assert second is not None
    assert waits is not None  # those before it do not stand yet
    assert (first.key, first.cpus, first.gpus) == ("t0", 1.0, 2)
    found.started("t0")
    found.started("t1")
    assert found.next(3) is None
    found.ended("t0", Answer(pid=1, measuring_s=3.0))
    last = found.next(2)
    assert last is not None
    assert last.key == "t3"
    assert [held.measuring_s for held in found.held] == [3.0]


def test_a_job_brings_errors_home_as_answers(tmp_path: Path) -> None:
    launches = [launch_of("t0", 1, refuse, "age"), launch_of("t1", 1, answer)]
    found = source(ListSearch(launches, tmp_path))
    jobs = [found.next(0), found.next(1)]
    assert jobs[0] is not None
    assert jobs[1] is not None
    said = jobs[0].work(*jobs[0].args)
    assert isinstance(said, EngineDied)
    assert jobs[0].fitness(said) is None
    good = jobs[1].work(*jobs[1].args)
    assert isinstance(good, Answer)
    assert jobs[1].fitness(good) == 1.0


def test_an_actor_that_never_stood_is_a_trial_that_died(tmp_path: Path) -> None:
    search = ListSearch([launch_of("t0", 1)], tmp_path)
    found = source(search)
    found.next(0)
    found.ended("t0", WorkerDied("no actor"))
    assert search.events == [("start", "t0"), ("done", "t0")]


def test_at_the_end_of_time_nothing_new_starts_and_who_runs_may_answer(tmp_path: Path) -> None:
    search = ListSearch([launch_of(f"t{n}", 1) for n in range(3)], tmp_path)
    found = source(search)
    assert not found.stop()
    found.next(0)
    found.started("t0")
    found._left_s = source(search, left_s=0)._left_s
    assert not found.stop()
    assert found.next(1) is None
    found.ended("t0", Answer(pid=1))
    with pytest.raises(BudgetExceeded):
        found.stop()


def test_without_ray_it_says_what_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tune, "connected", lambda: False)
    search = ListSearch([launch_of("t0", 1)], tmp_path)
    with pytest.raises(BadInput, match=r"pools are not Ray's; choose pools: ray"):
        ray_tune.RUNNER.run(search, None, 4, lambda: math.inf)  # type: ignore[arg-type]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "pandas" or None)
    with pytest.raises(BadInput, match=r"needs pandas, .* pip install 'optikit\[cluster,tune\]'"):
        adapter.check_installed()


def test_a_strangers_exception_is_an_answer_in_our_words() -> None:
    told = answer_of(dict[str, int]().__getitem__, ("weight",))
    assert "KeyError: 'weight'" in str(told)
