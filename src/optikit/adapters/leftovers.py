"""What a stage's work may leave on a node: processes, ports, GPU memory; found, ended, named."""

from __future__ import annotations

import time
from collections.abc import Iterable

from optikit.adapters.hardware import gpu_memory_used
from optikit.adapters.process import boot_id, end_group, members, port_in_use
from optikit.spec.endpoint import ProcessGroup

__all__ = ["IDLE_BYTES", "held_devices", "sweep"]

IDLE_BYTES = 1 << 30
"""What a driver keeps on a GPU that nobody uses is below."""
_PATIENCE_S = 10.0
_POLL_S = 0.1


def sweep(
    groups: Iterable[ProcessGroup], patience_s: float = _PATIENCE_S
) -> tuple[list[str], list[str]]:
    """End what lives of these groups on this machine, and see that they gave everything back.

    Args:
        patience_s: the driver of a GPU takes a moment to free what a killed process held.

    Returns:
        What was ended, and what is still held, each in words.
    """
    here = [group for group in groups if group.boot_id == boot_id()]
    alive = [group for group in here if members(group)]
    stuck = [group for group in alive if end_group(group, grace_s=2.0)]
    left = [f"process group {group.pgid} does not end ({group.what})" for group in stuck]
    until = time.monotonic() + patience_s
    while (held := _held(here)) and time.monotonic() < until:
        time.sleep(_POLL_S)
    return [group.what for group in alive], left + held


def held_devices(devices: Iterable[str]) -> dict[str, int]:
    """Of these GPUs, those that hold more than an idle one does, in bytes."""
    wanted = set(devices)
    used = gpu_memory_used() if wanted else {}
    return {name: used[name] for name in sorted(wanted & set(used)) if used[name] > IDLE_BYTES}


def _held(groups: list[ProcessGroup]) -> list[str]:
    """Ports and GPUs of groups that are gone."""
    ports = {group.port: group.what for group in groups if group.port is not None}
    found = [f"port {p} is taken ({what} had it)" for p, what in ports.items() if port_in_use(p)]
    for name, used in held_devices(name for group in groups for name in group.devices).items():
        found.append(f"GPU {name} holds {used / 2**30:.1f} GiB")
    return found
