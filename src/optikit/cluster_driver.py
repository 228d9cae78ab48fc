"""The driver of a job on a Ray cluster: ``python -m optikit.cluster_driver SUBMISSION.json``.

It runs as a Ray job. It holds itself against its sender, plans with this machine's facts, opens the
archive under the cluster's home with the id that it was sent with (a second run of the same command
goes on with it), drives the job on the cluster that RAY_ADDRESS names, and prints the journal's
events for those who follow its log. Whatever is not in the standard library is imported after the
check, so that what is missing can be said.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from optikit.adapters.jsonlog import log_as_asked
from optikit.adapters.output import redact_output
from optikit.core.eventlines import event_line
from optikit.core.redact import Redactor, secrets_in
from optikit.errors import BadInput, Cancelled, OptikitError
from optikit.remote.parcel import arrived

if TYPE_CHECKING:
    from optikit.archive import JobArchive
    from optikit.spec.submission import Submission

__all__ = ["main"]

_POLL_S = 0.5
_FOR_GOOD = ("done", "negative", "inconclusive")
"""Ends that another run does not change."""


def main(argv: list[str]) -> int:
    """Entry of the driver process; the exit code of the job."""
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _stop)
    _print("state", state="starting")
    try:
        return _run(_read(argv))
    except Cancelled:
        error: OptikitError = Cancelled("cancelled before it began")
    except OptikitError as found:
        error = found
    except ImportError as missing:
        error = BadInput(
            f"{sys.executable} on the cluster lacks {missing.name or missing}: install OptiKIT's "
            "dependencies there, or name another interpreter with --python"
        )
    traceback.print_exception(error)
    _print("state", state=_state(error), exit_code=error.exit_code, message=str(error))
    return error.exit_code


def _stop(number: int, frame: FrameType | None) -> None:
    raise Cancelled("stopped before it began")


def _state(error: OptikitError) -> str:
    if isinstance(error, Cancelled):
        return "cancelled"
    return "rejected" if isinstance(error, BadInput) else "failed"


def _read(argv: list[str]) -> dict[str, Any]:
    if len(argv) != 1:
        raise BadInput("usage: python -m optikit.cluster_driver SUBMISSION.json")
    try:
        found = json.loads(Path(argv[0]).read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read the submission {argv[0]}: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{argv[0]} is no submission")
    return found


def _run(data: Mapping[str, Any]) -> int:
    differences = arrived(data)
    from optikit.pools import POOLS
    from optikit.reports.summary import state_of, summary
    from optikit.runner import drive
    from optikit.spec.submission import Submission

    told = Submission.parse(data, "the submission")
    pools = POOLS.load(told.pool)
    home = _home(told.home)
    archive = _archive(told, home, differences)
    plan = archive.plan().model_copy(update={"trace": None})  # it may be long
    _print("planned", plan=plan.model_dump(mode="json"), home=str(home))
    with _announced(archive):
        before = state_of(archive)
        if before["state"] not in _FOR_GOOD:
            _print("state", state="starting")
            _point_to_log(archive)
            with _connected(told.pool):
                drive(archive, pools)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has its end; only words are left
    after = state_of(archive)
    _print("summary", facts=summary(archive))
    return int(after["exit_code"] or 0)


def _home(asked: str | None) -> Path:
    told = asked or os.environ.get("OPTIKIT_HOME") or "~/.optikit"
    home = Path(told).expanduser()
    if not home.is_absolute():
        raise BadInput(
            f"OPTIKIT_HOME on the cluster is {told}, relative to a folder that vanishes with the "
            "job; make it absolute, or give --home"
        )
    return home


def _archive(told: Submission, home: Path, differences: list[str]) -> JobArchive:
    """The job's archive, new or as an earlier run left it."""
    from optikit.api import Submitter
    from optikit.archive import JobArchive, checked_id

    archive = JobArchive(home.resolve(), checked_id(told.job))
    if archive.whole:
        if archive.plan().job != told.spec:
            raise BadInput(f"{archive.root} on the cluster is a job of another spec")
        return archive
    facts = {
        "folder": str(home),
        "sent": {"code": told.code, "python": told.python, "packages": told.packages},
        "differences": differences,
    }
    try:
        opened = Submitter(home, told.pool).open(told.spec, told.job, facts)
    except BadInput as error:
        raise BadInput(f"on the cluster ({os.uname().nodename}, {home}): {error}") from error
    for text in differences:
        opened.archive.event("note", text=text)
    return opened.archive


@contextlib.contextmanager
def _connected(pool: str) -> Iterator[None]:
    """Connect to the cluster before the job is driven.

    Ray replaces the action of SIGTERM when it connects; what comes after has the last word, and a
    stop must be recorded as one.
    """
    if pool != "ray":
        yield
        return
    from optikit.adapters.ray import cluster

    with cluster(os.environ.get("RAY_ADDRESS")):
        yield


def _point_to_log(archive: JobArchive) -> None:
    with archive.driver_log.open("a") as log:
        log.write(f"This driver ran as a Ray job: `ray job logs {archive.job_id}` has its output\n")


@contextlib.contextmanager
def _announced(archive: JobArchive) -> Iterator[None]:
    """Print the journal as it grows, and the summary after each stage."""
    from optikit.reports.summary import summary

    offset, over = 0, threading.Event()

    def say() -> None:
        nonlocal offset
        news = False
        for event, end in archive.events_and_ends(offset):
            offset = end
            line = event_line(event)
            if line is not None:
                _write(line)
            news |= event["kind"] == "stage" and event["state"] != "running"
        if news:
            _print("summary", facts=summary(archive))

    def go_on() -> None:
        while not over.wait(_POLL_S):
            try:
                say()
            except (OptikitError, OSError):
                traceback.print_exc()  # the archive is away for a while: the job may live on

    say()
    thread = threading.Thread(target=go_on, name="optikit-announced", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        say()


def _print(kind: str, **facts: Any) -> None:
    line = event_line({"t": round(time.time(), 3), "kind": kind, **facts})
    assert line is not None
    _write(line)


def _write(line: str) -> None:
    """In one piece, for workers' output is printed at the same time, and without secrets."""
    sys.stdout.flush()
    data = Redactor(secrets_in(os.environ)).text(line).encode()
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    redact_output()
    log_as_asked()
    sys.exit(main(sys.argv[1:]))
