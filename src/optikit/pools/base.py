"""What the runner and the stages may ask of a pool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from optikit.spec.base import Spec

__all__ = ["Pool", "Pools", "Resources"]

T = TypeVar("T")


class Resources(Spec):
    """What one task occupies."""

    cpus: float = 1.0
    gpus: int = 0
    accelerator: str | None = None
    """Ray's accelerator type of the node, None for any."""


class Pool(Protocol):
    """Workers of one stage."""

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        """Run ``task(*args)`` in a new worker; task and arguments must pickle.

        The future raises what the task raised, or WorkerDied when the worker ended without an
        answer. The worker and what it started are gone before the future is done.
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
