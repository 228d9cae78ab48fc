"""Ends what a killed driver's own Ray leaves: ``python ray_warden.py RAYLET_PID``, a process of its
own.

A driver that is killed cannot stop its Ray. The raylet then ends by itself, but its agents first
report that to a GCS that is gone as well, for more than 30 s. They carry the raylet's process id in
their environment (``RAY_RAYLET_PID``), by which they are found here. It waits for the end of its
stdin, which is the driver's end of a pipe, and then for the raylet.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

PATIENCE_S, GRACE_S, LOOK_S = 20.0, 3.0, 0.5


def main(raylet: int) -> None:
    """Wait for the driver's end, then for the raylet's, then end the raylet's agents."""
    sys.stdin.buffer.read()
    until = time.monotonic() + PATIENCE_S
    while _alive(raylet) and time.monotonic() < until:
        time.sleep(LOOK_S)
    if _alive(raylet):
        return  # it is not of a killed driver, or its number has been given to another process
    time.sleep(GRACE_S)
    for pid in _agents(raylet):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _agents(raylet: int) -> list[int]:
    mark, found = f"RAY_RAYLET_PID={raylet}".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
