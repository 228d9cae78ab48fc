"""A new Python process a task, without Ray: one machine, one task after the other's resources."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from optikit.errors import WorkerDied
from optikit.pools.base import Pool, Resources

__all__ = ["POOLS"]

T = TypeVar("T")
_SPAWN = multiprocessing.get_context("spawn")


def _answer(channel: Connection, task: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        reply: tuple[bool, Any] = (True, task(*args))
    except Exception as error:
        reply = (False, error)
    try:
        channel.send(reply)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        channel.send((False, WorkerDied(f"the answer cannot be sent: {error}")))


class _ProcessPool:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="optikit-pool")
        self._live: set[BaseProcess] = set()

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        return self._threads.submit(self._run, task, args)

    def _run(self, task: Callable[..., T], args: tuple[Any, ...]) -> T:
        here, there = _SPAWN.Pipe(duplex=False)
        worker = _SPAWN.Process(target=_answer, args=(there, task, args), daemon=False)
        worker.start()
        self._live.add(worker)
        there.close()
        try:
            ok, value = here.recv()
        except EOFError:
            worker.join(5)
            raise WorkerDied(
                f"the worker process of {task.__name__} ended with code {worker.exitcode} "
                "and without an answer"
            ) from None
        finally:
            here.close()
            _end(worker)
            self._live.discard(worker)
        if ok:
            return value  # type: ignore[no-any-return]
        raise value

    def close(self) -> None:
        for worker in list(self._live):
            _end(worker, at_once=True)
        self._threads.shutdown(wait=True, cancel_futures=True)


def _end(worker: BaseProcess, at_once: bool = False) -> None:
    if not at_once:
        worker.join(5)
    if worker.is_alive():
        worker.kill()
        worker.join(10)


class ProcessPools:
    """A process a task. Whoever submits sees to it that the machine is not asked for too much."""

    name = "process"

    @contextmanager
    def session(self, resources: Resources) -> Iterator[None]:
        """Nothing to hold."""
        yield

    @contextmanager
    def open(self, stage: str) -> Iterator[Pool]:
        """A pool; its processes end with it."""
        pool = _ProcessPool()
        try:
            yield pool
        finally:
            pool.close()


POOLS = ProcessPools()
