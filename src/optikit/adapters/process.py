"""Process groups and local ports: who lives in a group, how it is ended. Linux only (/proc).

A process belongs to a group here when its process group *or* its session carries the group's
number, so that a child which made a process group of its own is still found. Zombies are dead:
they hold nothing and wait only for their parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optikit.spec.endpoint import ProcessGroup

__all__ = [
    "ProcessStat",
    "boot_id",
    "die_with_parent",
    "end_group",
    "free_port",
    "group_of",
    "members",
    "members_among",
    "parse_stat",
    "port_in_use",
]

_PROC = Path("/proc")
_POLL_S = 0.05
_PORT_TRIES = 200
_LOWEST_PORT = 15_000
_PR_SET_PDEATHSIG = 1
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ProcessStat:
    """The fields of ``/proc/PID/stat`` that tell who a process is (proc(5))."""

    pid: int
    state: str
    pgid: int
    session: int
    started_ticks: int

    @property
    def alive(self) -> bool:
        """Neither a zombie nor dead."""
        return self.state not in "ZXx"


def parse_stat(text: str) -> ProcessStat:
    """One line of ``/proc/PID/stat``. The command's name may hold spaces and brackets.

    >>> parse_stat("7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0").started_ticks
    4711
    """
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return ProcessStat(
        pid=int(head.split(" ", 1)[0]),
        state=fields[0],
        pgid=int(fields[2]),
        session=int(fields[3]),
        started_ticks=int(fields[19]),
    )


def boot_id() -> str:
    """Identity of this boot of the machine: start ticks of two boots cannot be compared."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when the thread that started it ends; ends it at once where
    that process is gone already.

    Args:
        parent: the process that started this one.
    """
    with contextlib.suppress(OSError, AttributeError):  # no Linux: nobody does it
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def group_of(pid: int, what: str, port: int | None = None) -> ProcessGroup:
    """The group that the running process ``pid`` leads, with the GPUs that this process may use.

    Raises:
        ProcessLookupError: no such process.
    """
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(errno.ESRCH, f"process {pid} ({what}) is already gone")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return ProcessGroup(
        pgid=pid,
        started_ticks=stat.started_ticks,
        boot_id=boot_id(),
        what=what,
        port=port,
        devices=tuple(name for name in visible.split(",") if name),
    )


def members_among(group: ProcessGroup, stats: list[ProcessStat]) -> list[int]:
    """Live processes of ``group`` among ``stats`` (those of the boot in which it began).

    While any process of a group lives, the kernel gives the group's number to no new process: a
    leader with another start time means that the whole group is gone and its number was reused.
    """
    leader = next((stat for stat in stats if stat.pid == group.pgid), None)
    if leader is not None and leader.started_ticks != group.started_ticks:
        return []
    return sorted(
        stat.pid
        for stat in stats
        if group.pgid in (stat.pgid, stat.session)
        and stat.alive
        and stat.started_ticks >= group.started_ticks
    )


def members(group: ProcessGroup) -> list[int]:
    """Pids of ``group`` that live now, smallest first; none when its number was reused."""
    if group.boot_id != boot_id():
        return []
    return members_among(group, list(_stats()))


def end_group(group: ProcessGroup, grace_s: float = 5.0, kill_s: float = 10.0) -> list[int]:
    """SIGTERM to every member, SIGKILL to those that live after ``grace_s`` seconds.

    Returns:
        Pids that live on ``kill_s`` seconds after SIGKILL (a process stuck in the kernel, or one
        of another user); an empty list is the proof that the group is gone.
    """
    return _signal_until_gone(group, signal.SIGTERM, grace_s, repeat=False) and (
        _signal_until_gone(group, signal.SIGKILL, kill_s, repeat=True)
    )


def _signal_until_gone(
    group: ProcessGroup, number: signal.Signals, wait_s: float, *, repeat: bool
) -> list[int]:
    deadline = time.monotonic() + wait_s
    alive = members(group)
    _send(alive, number)
    while alive and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        alive = members(group)
        if repeat:  # a member may have forked between the look and the signal
            _send(alive, number)
    return alive


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # gone meanwhile, or reported as alive by the caller


def _stat(pid: int) -> ProcessStat | None:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def _stats() -> Iterator[ProcessStat]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            yield stat


def port_in_use(port: int) -> bool:
    """Whether a server could not listen on 127.0.0.1:``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return True
            raise
    return False


def free_port() -> int:
    """A port that nobody listens on, outside the range of outgoing connections.

    A server binds it seconds later; a port of the ephemeral range could by then belong to some
    client's connection. Two callers may still get the same one: drawn at random, it is unlikely.

    Raises:
        OSError: none was found.
    """
    low, high = _LOWEST_PORT, _ephemeral_start()
    if high - low < 1000:  # the range was moved down; then any port is as good as another
        low, high = 1024, 65_535
    draw = random.SystemRandom()
    for _ in range(_PORT_TRIES):
        port = draw.randrange(low, high)
        if not port_in_use(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port among {_PORT_TRIES} tried in {low}..{high}")


def _ephemeral_start() -> int:
    try:
        return int((_PROC / "sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (FileNotFoundError, PermissionError):
        return 32_768
