"""What a stage holds on a Ray cluster: a placement group on one node, and the proof that it is
given back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from optikit.adapters.ray_watch import check_raylet
from optikit.errors import OptikitError

__all__ = ["Reservation", "on_node"]

_POLL_S = 0.05
_WAIT_S = 0.5
"""Between looks at a group that waits, so that a signal is heard."""


class Reservation:
    """One bundle on one node; tasks run inside it. It ends with its driver, whatever kills that.

    Args:
        name: of the stage, for Ray's own tables.
        node: id of the node; None: any that has room.

    ``ready`` waits until Ray has room. That some node could ever serve it was asked before.
    """

    def __init__(
        self,
        name: str,
        cpus: float,
        gpus: int,
        accelerator: str | None,
        memory_bytes: int = 0,
        node: str | None = None,
    ) -> None:
        import ray
        from ray.util.placement_group import placement_group

        bundle: dict[str, float] = {"CPU": cpus}
        if gpus:
            bundle["GPU"] = gpus
        if accelerator:
            bundle[f"accelerator_type:{accelerator}"] = 0.001  # as Ray asks for one itself
        if memory_bytes:
            bundle["memory"] = memory_bytes
        where = [{"ray.io/node-id": node}] if node else None
        self._ray = ray
        self._group = placement_group(
            [bundle], strategy="STRICT_PACK", name=name, bundle_label_selector=where
        )

    def ready(self, waiting: Callable[[], None] = lambda: None) -> float:
        """Seconds until the bundle stood.

        Args:
            waiting: called every half second of the wait; what it raises ends it.

        Raises:
            ClusterError: the Ray of this process ended.
        """
        began = time.monotonic()
        while not self._group.wait(_WAIT_S):
            check_raylet()
            waiting()
        return time.monotonic() - began

    def strategy(self) -> Any:
        """For actors that run inside."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return PlacementGroupSchedulingStrategy(
            self._group, placement_group_bundle_index=0, placement_group_capture_child_tasks=False
        )

    def release(self, patience_s: float = 30.0) -> str | None:
        """Give the bundle back; None once no node lists it any more, else what is still held."""
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(self._group)
        until = time.monotonic() + patience_s
        while held := self._listed():
            if time.monotonic() > until:
                return f"Ray still lists {', '.join(held)} {patience_s:g} s after its removal"
            time.sleep(_POLL_S)
        return None

    def _listed(self) -> list[str]:
        """Resources that nodes have only while the group stands."""
        mark = self._group.id.hex()
        return sorted(name for name in self._ray.cluster_resources() if mark in name)


def on_node(node: str, task: Callable[..., Any], *args: Any, patience_s: float = 60.0) -> Any:
    """The answer of a small task that runs on a node and takes nothing of it.

    Raises:
        OptikitError: the node is gone, or does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = ray.remote(num_cpus=0, max_retries=0)(_called).options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
    )
    try:
        return ray.get(there.remote(task, args), timeout=patience_s)
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()
        raise OptikitError(
            f"node {node[:8]} does not answer: {said[0] if said else error!r}"
        ) from None


def _called(task: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return task(*args)
