"""What the runner and the stages may ask of a pool."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from optikit.errors import OptikitError
from optikit.spec.base import Spec

__all__ = ["Pool", "Pools", "Resources", "answer_of", "stranger"]

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
        traceback.print_exc()
        return stranger(task.__name__, error)


class Resources(Spec):
    """What one task occupies."""

    cpus: float = 1.0
    gpus: int = 0
    accelerator: str | None = None
    """Ray's accelerator type of the node, None for any."""
    node: str | None = None
    """Id of the node to run on, None for any; pools of one machine know none."""


class Pool(Protocol):
    """Workers of one stage."""

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        """Run ``task(*args)`` in a new worker; task and arguments must pickle.

        The future raises the OptikitError that the task raised, an OptikitError in the place of any
        other exception, or WorkerDied when the worker ended without an answer. A pool that was
        closed takes no task: OptikitError. The worker and what it started are gone before the
        future is done.
        """


class Pools(Protocol):
    """Opens a pool a stage; owns what is behind them (a local Ray) until closed."""

    name: str

    def session(self, resources: Resources) -> AbstractContextManager[None]:
        """Hold what all pools of a job need.

        Raises:
            DoesNotFit: no node can ever serve ``resources``; says what there is.
        """

    def open(self, stage: str) -> AbstractContextManager[Pool]:
        """A pool; on exit every worker is ended, also those with a task in flight."""
