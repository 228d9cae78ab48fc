"""What a team reads of its jobs: where one stands, what came out, its journal and logs in parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optikit.archive import JobArchive
from optikit.errors import OptikitError
from optikit.reports.summary import FINAL, iso, stages, state_of, summary
from optikit.service.database import Entry
from optikit.service.refusals import Conflict, NotFound

__all__ = ["archive_of", "events", "log", "result", "row", "spec_of", "state", "status"]

_PART = 256 << 10
"""Most bytes of a journal or log in one answer."""


def archive_of(entry: Entry) -> JobArchive:
    """The job's archive."""
    return JobArchive(Path(entry.home), entry.id)


def spec_of(entry: Entry) -> Any:
    """The job spec as it was submitted; None where it cannot be read."""
    try:
        return json.loads((archive_of(entry).root / "job.json").read_text())
    except (OSError, ValueError):
        return None


def state(entry: Entry) -> dict[str, Any]:
    """As ``state_of``, but of a job in a queue: a driver that died is started again."""
    known = state_of(archive_of(entry))
    if entry.state == "queued":
        return {**known, "state": "queued", "exit_code": None, "verdict": None, "message": ""}
    if entry.state == "started" and known["state"] == "interrupted":
        return {**known, "state": "starting"}
    return known


def status(entry: Entry) -> dict[str, Any]:
    """What ``optikit status --json`` prints, and the job's priority."""
    archive = archive_of(entry)
    known = state(entry)
    return {
        "id": entry.id,
        "created": iso(entry.submitted_s),
        "simulated": archive.plan().simulated,
        **{key: known[key] for key in ("state", "exit_code", "verdict", "message")},
        "stages": stages(archive),
        "priority": entry.priority,
    }


def row(entry: Entry) -> dict[str, Any]:
    """One line of ``optikit list``; one damaged job hides no other."""
    archive = archive_of(entry)
    head = {"id": entry.id, "created": iso(entry.submitted_s)}
    try:
        plan, known = archive.plan(), state(entry)
    except (OptikitError, OSError) as error:
        said = str(error) if isinstance(error, OptikitError) else "its archive cannot be read"
        nothing = dict.fromkeys(("flow", "model", "simulated"))
        return {**head, **nothing, "state": "damaged", "verdict": said}
    return {
        **head,
        "state": known["state"],
        "verdict": known["verdict"],
        "flow": plan.flow.name,
        "model": f"{plan.job.model.name}:{plan.job.model.version}",
        "simulated": plan.simulated,
    }


def result(entry: Entry) -> dict[str, Any]:
    """What ``optikit show --json`` prints.

    Raises:
        Conflict: the job has not ended.
    """
    archive = archive_of(entry)
    known = state(entry)
    if entry.state != "ended" and known["state"] not in FINAL:
        raise Conflict(
            f"job {entry.id} has no result yet: it is {known['state']}; ask for its status until "
            "it has ended"
        )
    return summary(archive)


def events(entry: Entry, offset: int) -> dict[str, Any]:
    """Whole events from a byte of the journal on, at most some 256 KB, and where to go on."""
    found: list[dict[str, Any]] = []
    end = offset
    for event, behind in archive_of(entry).events_and_ends(offset):
        found.append(event)
        end = behind
        if end - offset >= _PART:
            break
    return {"events": found, "next": end}


def log(entry: Entry, trial: str | None, offset: int, length: int) -> dict[str, Any]:
    """A part of the driver's log, or of a trial's engine log; whole lines where it has lines.

    Args:
        length: most bytes; never more than 256 KB.

    Raises:
        NotFound: the job has no such trial.
    """
    archive = archive_of(entry)
    path = archive.driver_log
    if trial is not None:
        folder = archive.root / "trials"
        if trial not in {path.name for path in folder.glob("*")}:
            raise NotFound(f"job {entry.id} has no trial {trial!a:.80}")
        path = folder / trial / "engine.log"
    asked = min(length, _PART)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # not begun yet, or no file
        return {"text": "", "offset": offset, "next": offset, "size": 0}
    try:
        size = os.fstat(handle).st_size
        part = os.pread(handle, asked, offset)
    except OSError:  # a folder
        size, part = 0, b""
    finally:
        os.close(handle)
    if offset + len(part) < size and b"\n" in part:
        part = part[: part.rindex(b"\n") + 1]
    text = part.decode(errors="replace")
    return {"text": text, "offset": offset, "next": offset + len(part), "size": size}
