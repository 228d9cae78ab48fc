"""A job as a row of a list."""

from __future__ import annotations

from typing import Any

from optikit.archive import JobArchive
from optikit.errors import OptikitError
from optikit.reports.summary import iso, summary

__all__ = ["listed"]

_KEYS = ("id", "state", "created", "flow", "model", "verdict", "simulated")


def listed(job: JobArchive) -> dict[str, Any]:
    """Id, state, creation time, flow, model, verdict, whether it is simulated, team.

    A damaged archive is a row too, in the state ``damaged``: it hides no other.
    """
    try:
        facts, ticket = summary(job), job.ticket()
    except OptikitError as error:
        facts = {**dict.fromkeys(_KEYS), "id": job.job_id, "created": iso(job.created())}
        facts |= {"state": "damaged", "verdict": str(error)}
        ticket = None
    return {**{key: facts[key] for key in _KEYS}, "team": ticket.team if ticket else None}
