"""Ray actors: one a task, inside what the stage holds on one node, ended before the next stage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from optikit.adapters.ray import TaskActor, cluster, here, node_ids, require
from optikit.adapters.ray_reservation import Reservation, on_node
from optikit.errors import DoesNotFit, OptikitError
from optikit.pools.base import Closed, OpenPool, Resources, Sweep

__all__ = ["POOLS"]

T = TypeVar("T")
_MOST_TASKS = 64


class _RayPool:
    def __init__(self, stage: str, reserve: Resources | None, workers: int) -> None:
        self.closed = Closed()
        self._stage = stage
        self._reserve = reserve
        self._held = _reservation(stage, reserve) if reserve else None
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=f"pool-{stage}")
        self._live: set[TaskActor] = set()
        self._nodes: set[str] = set()
        self._over = False

    def ready(self) -> None:
        """Wait for what is reserved."""
        if self._held is not None:
            self.closed.waited_s = self._held.ready()

    def submit(self, task: Callable[..., T], *args: Any, resources: Resources) -> Future[T]:
        if self._over:
            raise OptikitError("the stage's pool was closed")
        held = self._reserve
        if held and (resources.gpus > held.gpus or resources.cpus > held.cpus):
            raise DoesNotFit(
                f"{self._stage}.{task.__name__} asks for {resources.cpus:g} CPUs and "
                f"{resources.gpus} GPUs, its stage holds {held.cpus:g} and {held.gpus}"
            )
        return self._threads.submit(self._run, task, args, resources)

    def _run(self, task: Callable[..., T], args: tuple[Any, ...], resources: Resources) -> T:
        actor = TaskActor(
            f"{self._stage}.{task.__name__}",
            resources.cpus,
            resources.gpus,
            resources.accelerator,
            resources.node,
            self._held.strategy() if self._held else None,
        )
        self._live.add(actor)
        try:
            return actor.run(task, args)  # type: ignore[no-any-return]
        finally:
            actor.end()
            self._live.discard(actor)
            if actor.node is not None:
                self._nodes.add(actor.node)

    def close(self, sweep: Sweep | None) -> None:
        """End the workers, sweep each node, give the reservation back; each proven, in order."""
        self._over = True
        with self.closed.timing("workers_s"):
            for actor in list(self._live):
                actor.end()
            self._threads.shutdown(wait=True, cancel_futures=True)
        if sweep is not None:
            with self.closed.timing("swept_s"):
                self._sweep(sweep)
        if self._held is not None:
            began = time.monotonic()
            left = self._held.release()
            self.closed.returned_s = time.monotonic() - began
            self.closed.left += (left,) if left else ()

    def _sweep(self, sweep: Sweep) -> None:
        mine = here()
        self.closed.nodes = len(self._nodes | {mine})
        self.closed.found(sweep())
        for node in sorted(self._nodes - {mine}):
            try:
                self.closed.found(on_node(node, sweep))
            except OptikitError as error:
                if node in node_ids():
                    self.closed.left += (str(error),)
                else:
                    self.closed.ended += (f"node {node[:8]} is gone, and what ran there with it",)


def _reservation(stage: str, reserve: Resources) -> Reservation:
    require(reserve.cpus, reserve.gpus, reserve.accelerator, reserve.memory_bytes)
    return Reservation(
        stage,
        reserve.cpus,
        reserve.gpus,
        reserve.accelerator,
        reserve.memory_bytes,
        reserve.node,
    )


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
    def open(
        self,
        stage: str,
        reserve: Resources | None = None,
        sweep: Sweep | None = None,
        workers: int | None = None,
    ) -> Iterator[OpenPool]:
        """A pool whose actors, and whose placement group, end with it."""
        pool = _RayPool(stage, reserve, workers or _MOST_TASKS)
        try:
            pool.ready()
            yield pool
        finally:
            pool.close(sweep)


POOLS = RayPools()
