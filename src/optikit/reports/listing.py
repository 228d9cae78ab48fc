"""A job as a row of a list."""

from __future__ import annotations

from typing import Any

from optikit.archive import JobArchive
from optikit.errors import OptikitError
from optikit.reports.moment import Moment
from optikit.reports.summary import iso, summary

__all__ = ["listed", "team_of"]

_KEYS = ("id", "state", "created", "flow", "model", "verdict", "simulated")


def listed(job: JobArchive) -> dict[str, Any]:
    """Id, state, creation time, flow, model, verdict, whether it is simulated, team.

    A damaged archive is a row too, in the state ``damaged``: it hides no other.
    """
    try:
        facts, team = summary(Moment.of(job)), team_of(job)
    except OptikitError as error:
        facts = {**dict.fromkeys(_KEYS), "id": job.job_id, "created": iso(job.created())}
        facts |= {"state": "damaged", "verdict": str(error)}
        team = None
    return {**{key: facts[key] for key in _KEYS}, "team": team}


def team_of(job: JobArchive) -> str | None:
    """The team that submitted a job to a service; None: there was no service.

    Before the job has a place in the queue, its folder says so: ``teams/NAME/jobs/ID``.

    Raises:
        OptikitError: its ticket cannot be read.
    """
    ticket = job.ticket()
    if ticket is not None:
        return ticket.team
    return job.home.name if job.home.parent.name == "teams" else None
