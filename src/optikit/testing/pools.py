"""What every pool promises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import ClassVar

import pytest

from optikit.errors import BadInput, OptikitError, WorkerDied
from optikit.pools.base import Pool, Pools, Resources

__all__ = ["PoolContract"]

ONE = Resources(cpus=1.0)


def add(a: int, b: int) -> int:
    """A task that answers."""
    return a + b


def refuse(word: str) -> None:
    """A task that raises."""
    raise BadInput(f"refused {word}")


def stumble() -> None:
    """A task in which a library fails."""
    raise KeyError("model.layers")


def own_pid() -> int:
    """A task that tells where it runs."""
    return os.getpid()


def die() -> None:
    """A task whose worker ends without an answer."""
    os._exit(9)


def write_then_wait(path: str) -> None:
    """A task that never ends; it leaves its pid in a file."""
    import time

    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


class PoolContract:
    """Inherit and give ``pools``; ``isolated`` is False for a pool without workers of its own."""

    isolated: ClassVar[bool] = True

    @pytest.fixture
    def pools(self) -> Pools:
        """The pools under test."""
        raise AssertionError("override the fixture 'pools'")

    @pytest.fixture
    def pool(self, pools: Pools) -> Iterator[Pool]:
        """An open pool."""
        with pools.session(ONE), pools.open("test") as pool:
            yield pool

    def test_a_task_answers(self, pool: Pool) -> None:
        """Answers arrive, in whatever order they are asked for."""
        futures: list[Future[int]] = [pool.submit(add, n, 1, resources=ONE) for n in range(3)]
        assert [future.result(120) for future in reversed(futures)] == [3, 2, 1]

    def test_an_error_arrives_as_it_was_raised(self, pool: Pool) -> None:
        """Our errors cross the worker's border unchanged."""
        with pytest.raises(BadInput, match=r"^refused this$"):
            pool.submit(refuse, "this", resources=ONE).result(120)

    def test_a_librarys_exception_is_told_in_our_words(self, pool: Pool) -> None:
        """So that it crosses processes whatever it is, and a stage can make it a record."""
        with pytest.raises(OptikitError, match=r"stumble failed: KeyError: 'model\.layers'"):
            pool.submit(stumble, resources=ONE).result(120)

    def test_each_task_has_a_fresh_worker(self, pool: Pool) -> None:
        """No task sees what another left in a process, and the process is gone afterwards."""
        if not self.isolated:
            pytest.skip("this pool has no workers")
        pids = [pool.submit(own_pid, resources=ONE).result(120) for _ in range(2)]
        assert len({*pids, os.getpid()}) == 3
        assert not any(alive(pid) for pid in pids)

    def test_a_dead_worker_is_an_error_and_the_pool_goes_on(self, pool: Pool) -> None:
        """One bad task does not sink the stage."""
        if not self.isolated:
            pytest.skip("this pool has no workers")
        with pytest.raises(WorkerDied, match="die"):
            pool.submit(die, resources=ONE).result(120)
        assert pool.submit(add, 1, 1, resources=ONE).result(120) == 2

    def test_closing_ends_tasks_in_flight(self, pools: Pools, tmp_path: Path) -> None:
        """Teardown is deterministic: nothing of the stage lives on."""
        if not self.isolated:
            pytest.skip("this pool has no workers")
        mark = tmp_path / "pid"
        with pools.session(ONE):
            with pools.open("test") as pool:
                future = pool.submit(write_then_wait, str(mark), resources=ONE)
                while not (mark.exists() and mark.read_text()):
                    assert not future.done(), future.exception()
            with pytest.raises(WorkerDied):
                future.result(30)
        assert not alive(int(mark.read_text()))
        with pytest.raises(OptikitError, match="pool was closed"):
            pool.submit(own_pid, resources=ONE)

    def test_what_workers_left_is_swept_once_they_are_gone(self, pools: Pools) -> None:
        """A pool's end says what it found; the devices are still held while it looks."""
        seen: list[bool] = []
        pids: list[int] = []

        def sweep() -> tuple[list[str], list[str]]:
            seen.append(any(alive(pid) for pid in pids if pid != os.getpid()))
            return ["a server"], ["port 1 is taken"]

        with pools.session(ONE):
            with pools.open("test", ONE, sweep) as pool:
                pids.append(pool.submit(own_pid, resources=ONE).result(120))
            assert seen == [False]
            assert pool.closed.ended == ("a server",)
            assert pool.closed.left == ("port 1 is taken",)
            assert pool.closed.nodes == 1

    def test_a_sweep_follows_a_stage_that_failed(self, pools: Pools) -> None:
        """Whatever ends a stage, nothing of it stays."""
        seen: list[str] = []

        def sweep() -> tuple[list[str], list[str]]:
            seen.append("swept")
            return [], []

        with (
            pools.session(ONE),
            pytest.raises(BadInput, match="refused this"),
            pools.open("test", ONE, sweep) as pool,
        ):
            pool.submit(refuse, "this", resources=ONE).result(120)
        assert seen == ["swept"]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
