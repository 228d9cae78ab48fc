"""Both runners on a real Ray; and Ray Tune after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.adapters.ray import address, node_ids
from optikit.pools import POOLS
from optikit.pools.base import Pool
from optikit.runners import RUNNERS
from optikit.runners.base import Runner, Search
from optikit.spec.record import Usage
from optikit.testing.pools import alive, write_then_wait
from optikit.testing.runners import Answer, ListSearch, RunnerContract, launch_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def pool() -> Iterator[Pool]:
    with POOLS.load("ray").open("test") as pool:
        yield pool


class TestRayTune(RunnerContract):
    @pytest.fixture
    def runner(self) -> Runner:
        return RUNNERS.load("ray_tune")

    @pytest.fixture
    def pool(self, pool: Pool) -> Pool:
        return pool


class TestPackedOnRay(RunnerContract):
    """Each trial is told its node."""

    @pytest.fixture
    def runner(self) -> Runner:
        return RUNNERS.load("packed")

    @pytest.fixture
    def pool(self, pool: Pool) -> Pool:
        return pool

    def run(self, runner: Runner, pool: Pool, search: Search, devices: int = 4) -> Usage:
        return runner.run(search, pool, {node_ids()[0]: devices}, lambda: 100.0)


def wait_for(path: Path, beside: subprocess.Popen[bytes], limit_s: float = 60) -> str:
    until = time.monotonic() + limit_s
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until, f"{path} never came"
        assert beside.poll() is None, "the driver ended by itself"
        time.sleep(0.05)
    return path.read_text()


DRIVER = """
import sys
from pathlib import Path
from optikit.adapters.ray import cluster
from optikit.runners import RUNNERS
from optikit.testing.pools import write_then_wait
from optikit.testing.runners import ListSearch, launch_of

folder, mark = Path(sys.argv[1]), sys.argv[2]
launches = [launch_of("t0", 4), launch_of("t1", 4, write_then_wait, mark), launch_of("t2", 4)]
with cluster(sys.argv[3]):
    RUNNERS.load("ray_tune").run(ListSearch(launches, folder), None, 4, lambda: 100.0)
"""


def trials_of(folder: Path) -> list[tuple[str, str]]:
    """Key and state of the trials in the newest state that Tune left."""
    newest = max(folder.glob("experiment_state-*.json"), default=None)  # its time is in its name
    try:
        data = json.loads(newest.read_text())["trial_data"] if newest else []
    except ValueError:  # it is being written
        return []
    rows = [json.loads(row) for row, _ in data]
    return sorted((row["relative_logdir"].partition("-")[0], row["status"]) for row in rows)


def test_a_killed_search_goes_on_where_it_was(pool: Pool, tmp_path: Path) -> None:
    folder, mark = tmp_path / "search", tmp_path / "pid"
    command = [sys.executable, "-c", DRIVER, str(folder), str(mark), address()]
    driver = subprocess.Popen(command)
    try:
        pid = int(wait_for(mark, driver))
        until = time.monotonic() + 30
        while ("t1", "RUNNING") not in trials_of(folder):
            assert time.monotonic() < until, "Tune never wrote down that t1 runs"
            time.sleep(0.1)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    # what a resumed stage knows of its journal: t0 is finished, t1 is not
    search = ListSearch([launch_of("t3", 4), launch_of("t4", 4)], folder)
    usage = RUNNERS.load("ray_tune").run(search, pool, 4, lambda: 100.0)
    assert [type(search.answers[name]) for name in ("t3", "t4")] == [Answer, Answer]
    assert usage.trials == 2
    assert not alive(pid)
    states = trials_of(folder)
    assert {state for _, state in states} == {"TERMINATED"}
    # t2 is there where the killed driver had asked ahead for it; it has not run, before or since
    assert [name for name, _ in states if name != "t2"] == ["t0", "t1", "t3", "t4"]
    assert set(search.answers) == {"t3", "t4"}


def test_an_interrupt_ends_the_trials_that_run(pool: Pool, tmp_path: Path) -> None:
    mark = tmp_path / "pid"

    def left_s() -> float:
        if mark.exists() and mark.read_text():
            raise KeyboardInterrupt
        return 100.0

    search = ListSearch([launch_of("t0", 4, write_then_wait, str(mark))], tmp_path / "search")
    with pytest.raises(KeyboardInterrupt):
        RUNNERS.load("ray_tune").run(search, pool, 4, left_s)
    until = time.monotonic() + 30
    while alive(int(mark.read_text())):
        assert time.monotonic() < until, "the trial runs on"
        time.sleep(0.1)
    assert search.answers == {}
    assert not (Path.home() / "ray_results").exists()
    assert "TUNE_MAX_PENDING_TRIALS_PG" not in os.environ
