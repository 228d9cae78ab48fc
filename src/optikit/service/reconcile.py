"""After a crash: the database and the archives say the same again, and no job is lost or doubled.

A submission reserves its id in the database, makes the archive, and then lets the queue know it.
Whatever a service that was killed in between left is found at the next start: a whole archive is
queued (a client that asks again with its key gets that job), half of one is removed with its row
(nobody was told its id). A job on disk that the database does not know at all, because somebody put
back an older database or lost it, is written down as what its archive says.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from optikit.archive import JobArchive, is_id, jobs
from optikit.errors import OptikitError
from optikit.reports.summary import FINAL, state_of
from optikit.service.database import Database
from optikit.spec.queue import QueuedJob

__all__ = ["reconcile"]


def reconcile(database: Database) -> list[str]:
    """Before the queue begins; what was done, a sentence a job.

    Raises:
        ArchiveError: the database does not answer.
    """
    said = []
    for entry in database.opening():
        archive = JobArchive(Path(entry.home), entry.id)
        if archive.of_kind("created"):
            database.set_state(entry.id, "queued")
            said.append(f"job {entry.id} of {entry.team} was submitted when the service ended")
        else:
            remove_half(archive)
            database.forget(entry.id)
            said.append(f"half a submission of {entry.team} is removed ({entry.id})")
    for row in database.live():
        if not JobArchive(Path(row.home), row.id).journal.exists():
            database.set_state(row.id, "ended")
            said.append(f"job {row.id} of {row.team} has no archive any more; it is ended")
    for team in (entry.team.name for entry in database.team_entries()):
        known = database.ids(team)
        for archive in jobs(database.home_of(team)):
            if archive.job_id not in known and is_id(archive.job_id):
                state = _state(archive)
                _adopt(database, archive, team, state)
                said.append(f"job {archive.job_id} of {team} was found as {state}")
    return said


def remove_half(archive: JobArchive) -> None:
    """What a submission left that did not come to its end."""
    if archive.root.parent == archive.home / "jobs" and is_id(archive.job_id):
        shutil.rmtree(archive.root, ignore_errors=True)


def _state(archive: JobArchive) -> Literal["queued", "started", "ended"]:
    """Of a job that only the disk knows: one that somebody runs by hand is left to them."""
    try:
        state, ticket = state_of(archive)["state"], archive.ticket()
    except (OptikitError, OSError):
        return "ended"  # damaged: it is listed, not driven
    if state in FINAL:
        return "ended"
    if ticket is not None:
        return "started"
    return "queued" if state == "starting" and not archive.driver_alive() else "ended"


def _adopt(
    database: Database, archive: JobArchive, team: str, state: Literal["queued", "started", "ended"]
) -> None:
    row = QueuedJob(
        id=archive.job_id,
        team=team,
        home=str(database.home_of(team)),
        submitted_s=archive.created(),
        state=state,
    )
    database.reserve(row, state, "", None)
