"""Runs one server so that nothing of it outlives whoever asked for it.

Started by path, with the engine environment's interpreter, as the leader of a new session::

    python _supervisor.py PARENT_PID GRACE_S COMMAND...

Standard library only; it imports nothing of OptiKIT. Three ways to the end, each leaves nothing:

- the server ends: its remaining children are ended, the exit code is the server's;
- stdin (the *lifeline*, a pipe that the parent holds) reaches its end, the parent's pid is no
  longer our parent, or SIGTERM/SIGINT arrives: SIGTERM to the server, SIGKILL after GRACE_S;
- the supervisor itself is killed: a second process (the *guard*), which waits on a pipe of the
  supervisor's, ends the session.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_POLL_S = 0.05
_PARENT_CHECK_S = 1.0
_SWEEP_S = 2.0
_PR_SET_PDEATHSIG = 1


def others(keep: set[int]) -> list[int]:
    """Live processes of this session or process group, those of ``keep`` left out."""
    session = os.getsid(0)
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if not entry.isdigit() or int(entry) in keep:
            continue
        try:
            with open(f"/proc/{entry}/stat", errors="replace") as file:  # noqa: PTH123
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # gone meanwhile
        if fields[0] not in "ZX" and str(session) in (fields[2], fields[3]):
            found.append(int(entry))
    return found


def sweep(keep: set[int], grace_s: float = _SWEEP_S) -> None:
    """SIGTERM, then SIGKILL until nobody of the session is left but ``keep``."""
    number, deadline = signal.SIGTERM, time.monotonic() + grace_s
    _send(others(keep), number)
    while left := others(keep):
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        if number == signal.SIGKILL:
            _send(left, number)
        time.sleep(_POLL_S)


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def start_guard() -> int:
    """Fork the process that ends the session when this one is killed; returns its pid."""
    reader, _writer = os.pipe()  # the writer closes with this process, however it ends
    pid = os.fork()
    if pid:
        os.close(reader)
        return pid
    os.close(_writer)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(reader, 1)
    sweep({os.getpid()})
    os._exit(0)


def die_with_parent() -> None:
    """In a new child: SIGKILL it when the process that made it dies."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return  # no prctl here: the guard does it alone


def watch(server: subprocess.Popen[bytes], parent: int, wakeup: int) -> bool:
    """Block until the server ended (True) or somebody wants it to end (False)."""
    lifeline: list[int] = [sys.stdin.fileno()]
    while True:
        ready, _, _ = select.select([*lifeline, wakeup], [], [], _PARENT_CHECK_S)
        signals = os.read(wakeup, 64) if wakeup in ready else b""
        if server.poll() is not None:
            return True
        if signal.SIGTERM in signals or signal.SIGINT in signals or os.getppid() != parent:
            return False
        if ready and ready[0] in lifeline and not os.read(ready[0], 64):
            return False


def main(argv: list[str]) -> int:
    """Run ``argv`` as described above; the exit code (128 + n for a server ended by signal n)."""
    parent, grace_s, command = int(argv[0]), float(argv[1]), argv[2:]
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    keep = {os.getpid(), start_guard()}
    server = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    if not watch(server, parent, reader):
        server.terminate()
        try:
            server.wait(grace_s)
        except subprocess.TimeoutExpired:
            server.kill()
    code = server.wait()
    sweep(keep)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
