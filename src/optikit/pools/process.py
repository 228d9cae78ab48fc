"""A new Python process a task, without Ray: one machine, one task after the other's resources."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from optikit.adapters.hardware import gpu_count
from optikit.adapters.jsonlog import log_as_asked, tell_exception
from optikit.adapters.output import redact_output
from optikit.adapters.process import die_with_parent
from optikit.errors import DoesNotFit, OptikitError, WorkerDied
from optikit.pools.base import Closed, OpenPool, Resources, Sweep, closing, stranger

__all__ = ["POOLS"]

T = TypeVar("T")
_MOST_WORKERS = 32
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SPAWN = multiprocessing.get_context("spawn")


def _answer(
    parent: int,
    channel: Connection,
    devices: str | None,
    task: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    die_with_parent(parent)  # a driver that is killed leaves no worker that measures on
    redact_output()  # it prints into the driver's log without the driver
    log_as_asked()
    if devices is not None:
        os.environ[_VISIBLE] = devices  # before anything loads torch
    try:
        reply: tuple[bool, Any] = (True, task(*args))
    except OptikitError as error:
        reply = (False, error)
    except Exception as error:
        tell_exception(f"the task {task.__name__}")
        reply = (False, stranger(task.__name__, error))
    try:
        channel.send(reply)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        channel.send((False, WorkerDied(f"the answer cannot be sent: {error}")))


class _Devices:
    """The machine's GPUs, lent to tasks by index."""

    def __init__(self) -> None:
        told = os.environ.get(_VISIBLE)
        names = told.split(",") if told else [str(n) for n in range(gpu_count())]
        self._free = [name for name in names if name]
        self._changed = threading.Condition()
        self._all = len(self._free)

    @contextmanager
    def lent(self, count: int) -> Iterator[str | None]:
        """Indices for CUDA_VISIBLE_DEVICES; None where the task asks for none.

        Raises:
            DoesNotFit: the machine has fewer.
        """
        if count == 0:
            yield None
            return
        if count > self._all:
            raise DoesNotFit(f"the task asks for {count} GPUs, this machine has {self._all}")
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) >= count)
            mine, self._free = self._free[:count], self._free[count:]
        try:
            yield ",".join(mine)
        finally:
            with self._changed:
                self._free = sorted([*self._free, *mine])
                self._changed.notify_all()


class _ProcessPool:
    def __init__(self, workers: int) -> None:
        self.closed = Closed()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="optikit-pool")
        self._live: set[BaseProcess] = set()
        self._devices = _Devices()
        self._closed = False

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        if self._closed:
            raise OptikitError("the stage's pool was closed")
        return self._threads.submit(self._run, task, args, resources.gpus)

    def _run(self, task: Callable[..., T], args: tuple[Any, ...], gpus: int) -> T:
        with self._devices.lent(gpus) as devices:
            return self._run_on(devices, task, args)

    def _run_on(self, devices: str | None, task: Callable[..., T], args: tuple[Any, ...]) -> T:
        if self._closed:
            raise OptikitError("the stage's pool was closed")
        here, there = _SPAWN.Pipe(duplex=False)
        worker = _SPAWN.Process(
            target=_answer, args=(os.getpid(), there, devices, task, args), daemon=False
        )
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
        self._closed = True
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
    def open(
        self,
        stage: str,
        reserve: Resources | None = None,
        sweep: Sweep | None = None,
        workers: int | None = None,
    ) -> Iterator[OpenPool]:
        """A pool; its processes end with it. The machine is the job's: it reserves nothing."""
        pool = _ProcessPool(workers or _MOST_WORKERS)
        with closing(pool, sweep):
            yield pool


POOLS = ProcessPools()
