"""A node as a queue sees it: what is free, what runs, and whom it is reserved for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from optikit.spec.queue import Node

__all__ = ["Machine"]


@dataclass
class Machine:
    """A node of a cluster."""

    node: Node
    free: int
    kept_for: str | None = None
    """Key of the stage that it is reserved for."""
    running: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Devices and the latest end of each stage on it."""

    def room(self, devices: int) -> tuple[float, int]:
        """When so many are surely free, and how many more than these at that time."""
        free, when = self.free, -math.inf
        for end, more in sorted((end, more) for more, end in self.running.values()):
            if free >= devices and end > when:
                break
            free, when = free + more, end
        return when, free - devices
