"""The raylet that this process works through: Ray itself waits for ever for one that is dead."""

from __future__ import annotations

import concurrent.futures
import os
import select
import socket
import struct
from functools import cache
from typing import Any

from optikit.errors import ClusterError

__all__ = ["answer", "check_raylet", "raylet_pid"]

_LOOK_S = 1.0


def answer(ref: Any) -> Any:
    """What an object reference stands for, or what its task raised.

    Raises:
        ClusterError: the raylet of this process died while it was waited for.
        Exception: as ``ray.get`` raises it.
    """
    future = ref.future()
    while True:
        try:
            return future.result(_LOOK_S)
        except concurrent.futures.TimeoutError:  # of the wait; or, rarely, what the task raised
            if future.done():
                raise
            check_raylet()


def check_raylet() -> None:
    """See that the raylet is alive.

    Raises:
        ClusterError: it ended.
    """
    try:
        watched = _descriptor(*_here())
        ended = watched is not None and _ended(watched)
    except ConnectionRefusedError:  # its socket is there, and nobody listens
        ended = True
    if ended:
        raise ClusterError(
            "the Ray of this job is gone: its raylet ended, and with it every worker on this "
            "machine. Finished work is in the archive; optikit resume goes on from there"
        )


def _ended(pidfd: int) -> bool:
    look = select.poll()
    look.register(pidfd, select.POLLIN)
    return bool(look.poll(0))


def raylet_pid() -> int | None:
    """Process id of the raylet of this node; None where it cannot be had.

    Raises:
        ConnectionRefusedError: it ended before anybody looked.
    """
    return _process_of(*_here())


def _here() -> tuple[str, str]:
    import ray

    context = ray.get_runtime_context()
    return str(context.get_node_id()), str(context.gcs_address)


@cache
def _descriptor(node: str, gcs: str) -> int | None:
    pid = _process_of(node, gcs)
    try:
        return None if pid is None else os.pidfd_open(pid)
    except OSError:
        return None


@cache
def _process_of(node: str, gcs: str) -> int | None:
    import ray

    names = [
        row["RayletSocketName"]
        for row in ray.nodes()
        if row["NodeID"] == node and row.get("RayletSocketName")
    ]
    if not names:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(names[0])
            # of a listening socket: pid, uid and gid of the process that listens (unix(7))
            said = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", said)[0]) or None
    except ConnectionRefusedError:
        raise
    except OSError:
        return None
