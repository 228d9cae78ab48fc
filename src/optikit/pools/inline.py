"""Tasks in this very process, one at a time: for debugging; a dying task takes the job along."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from optikit.adapters.jsonlog import tell_exception
from optikit.errors import OptikitError
from optikit.pools.base import Closed, OpenPool, Resources, Sweep, closing, stranger

__all__ = ["POOLS"]

T = TypeVar("T")


class _InlinePool:
    def __init__(self) -> None:
        self.closed = Closed()

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(task(*args))
        except OptikitError as error:
            # the task's failure belongs to whoever asks for its answer
            future.set_exception(error)
        except Exception as error:
            tell_exception(f"the task {task.__name__}")
            future.set_exception(stranger(task.__name__, error))
        return future

    def close(self) -> None:
        """No worker to end."""


class InlinePools:
    """Pools without workers."""

    name = "inline"

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
        """A pool that runs a task when it is submitted; it holds nothing."""
        pool = _InlinePool()
        with closing(pool, sweep):
            yield pool


POOLS = InlinePools()
