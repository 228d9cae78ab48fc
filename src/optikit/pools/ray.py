"""Ray actors: one a task, on nodes of the SKU, ended before the next stage begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from optikit.adapters.ray import TaskActor, cluster, require
from optikit.errors import OptikitError
from optikit.pools.base import Pool, Resources

__all__ = ["POOLS"]

T = TypeVar("T")
_MOST_TASKS = 64


class _RayPool:
    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._threads = ThreadPoolExecutor(_MOST_TASKS, thread_name_prefix=f"pool-{stage}")
        self._live: set[TaskActor] = set()
        self._closed = False

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        if self._closed:
            raise OptikitError("the stage's pool was closed")
        return self._threads.submit(self._run, task, args, resources)

    def _run(self, task: Callable[..., T], args: tuple[Any, ...], resources: Resources) -> T:
        actor = TaskActor(
            f"{self._stage}.{task.__name__}",
            resources.cpus,
            resources.gpus,
            resources.accelerator,
            resources.node,
        )
        self._live.add(actor)
        try:
            return actor.run(task, args)  # type: ignore[no-any-return]
        finally:
            actor.end()
            self._live.discard(actor)

    def close(self) -> None:
        self._closed = True
        for actor in list(self._live):
            actor.end()
        self._threads.shutdown(wait=True, cancel_futures=True)


class RayPools:
    """A local Ray that is started and stopped here, or the cluster that RAY_ADDRESS names."""

    name = "ray"

    @contextmanager
    def session(self, resources: Resources) -> Iterator[None]:
        """A connected Ray.

        Raises:
            DoesNotFit: no node can ever serve ``resources``; says what there is.
        """
        with cluster(os.environ.get("RAY_ADDRESS")):
            require(resources.cpus, resources.gpus, resources.accelerator)
            yield

    @contextmanager
    def open(self, stage: str) -> Iterator[Pool]:
        """A pool whose actors end with it."""
        pool = _RayPool(stage)
        try:
            yield pool
        finally:
            pool.close()


POOLS = RayPools()
