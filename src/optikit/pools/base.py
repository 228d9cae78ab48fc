"""What the runner and the stages may ask of a pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from optikit.adapters.jsonlog import tell_exception
from optikit.errors import OptikitError
from optikit.spec.base import Spec

__all__ = [
    "Closed",
    "OpenPool",
    "Pool",
    "Pools",
    "Resources",
    "Sweep",
    "answer_of",
    "closing",
    "stranger",
]

T = TypeVar("T")


def stranger(task: str, error: BaseException) -> OptikitError:
    """A library's exception in our words: it crosses processes, and a stage may record it."""
    return OptikitError(f"{task} failed: {type(error).__name__}: {error} (its log has the rest)")


def answer_of(task: Callable[..., T], args: tuple[Any, ...]) -> T | OptikitError:
    """What a task returns, or what it raises as a value: for workers that are not a pool's."""
    try:
        return task(*args)
    except OptikitError as error:
        return error
    except Exception as error:
        tell_exception(f"the task {task.__name__}")
        return stranger(task.__name__, error)


class Resources(Spec):
    """What one task occupies."""

    cpus: float = 1.0
    gpus: int = 0
    accelerator: str | None = None
    """Ray's accelerator type of the node, None for any."""
    node: str | None = None
    """Id of the node to run on, None for any; pools of one machine know none."""
    memory_bytes: int = 0
    """Host memory that a Ray cluster counts."""


Sweep = Callable[[], tuple[list[str], list[str]]]
"""Ends what a stage left on the node where it is called: what it ended, and what is still held,
in words. It pickles."""


@dataclass
class Closed:
    """What a pool's end took, and found; whole only after the pool was closed."""

    waited_s: float = 0.0
    """For its reservation."""
    workers_s: float = 0.0
    """Until every worker was gone."""
    swept_s: float = 0.0
    """Until nothing that they had started was left on any node."""
    returned_s: float = 0.0
    """Until the reservation was back."""
    nodes: int = 1
    """On which the stage ran."""
    ended: tuple[str, ...] = ()
    """What outlived its worker and was ended, in words."""
    left: tuple[str, ...] = ()
    """What could not be got back, in words."""

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a field."""
        began = time.monotonic()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.monotonic() - began)

    def found(self, swept: tuple[list[str], list[str]]) -> None:
        """What a sweep says of one node."""
        self.ended += tuple(swept[0])
        self.left += tuple(swept[1])


@contextmanager
def closing(pool: _Closes, sweep: Sweep | None) -> Iterator[None]:
    """Close a pool of this machine alone when the block ends, then sweep."""
    try:
        yield
    finally:
        with pool.closed.timing("workers_s"):
            pool.close()
        if sweep is not None:
            with pool.closed.timing("swept_s"):
                pool.closed.found(sweep())


class _Closes(Protocol):
    closed: Closed

    def close(self) -> None: ...


class Pool(Protocol):
    """Workers of one stage."""

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        """Run ``task(*args)`` in a new worker; task and arguments must pickle.

        The future raises the OptikitError that the task raised, an OptikitError in the place of any
        other exception, or WorkerDied when the worker ended without an answer. A pool that was
        closed takes no task: OptikitError. The worker and what it started are gone before the
        future is done.
        """


class OpenPool(Pool, Protocol):
    """One that was opened, for who opened it."""

    closed: Closed
    """Of its end."""


class Pools(Protocol):
    """Opens a pool a stage; owns what is behind them (a local Ray) until closed."""

    name: str

    def session(self, resources: Resources) -> AbstractContextManager[None]:
        """Hold what all pools of a job need.

        Raises:
            DoesNotFit: no node can ever serve ``resources``; says what there is.
        """

    def open(
        self,
        stage: str,
        reserve: Resources | None = None,
        sweep: Sweep | None = None,
        workers: int | None = None,
    ) -> AbstractContextManager[OpenPool]:
        """A pool; on exit every worker is ended, also those with a task in flight.

        Args:
            reserve: held for the stage from its first task to its end, all of it on one node, where
                the pool can hold anything; tasks then share it. None: each task asks for its own.
            workers: most of them at a time; None: as many as the pool can.
            sweep: called on exit on each node where the stage ran, once its workers are gone and
                before what was reserved is given back.

        Raises:
            DoesNotFit: no node can ever serve ``reserve``; says what there is.
        """
