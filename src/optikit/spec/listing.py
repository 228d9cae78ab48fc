"""Which jobs somebody wants to see."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["EVERY_JOB", "JOB_STATES", "Wanted"]

JOB_STATES = (
    *("starting", "running", "done", "negative", "inconclusive", "failed", "rejected"),
    *("cancelled", "interrupted", "damaged"),
)
"""States that a list of jobs shows."""


class Wanted(Spec):
    """Of all jobs, those that are as each of these says; nothing said: every job."""

    states: tuple[str, ...] = ()
    """One of these; empty: any."""
    model: str | None = None
    """``NAME`` of any version, or ``NAME:VERSION``."""
    team: str | None = None
    since: str | None = None
    """Created at that moment or later: ISO 8601 in UTC, ``2026-11-27T10:00:00Z``."""
    limit: int | None = Field(default=None, ge=1)
    """The newest so many."""

    def fits(self, row: dict[str, Any]) -> bool:
        """Whether a row of a list of jobs is wanted, but for ``limit``.

        >>> row = {"state": "done", "model": "m:2", "team": None, "created": "2026-11-27T10:00:00Z"}
        >>> Wanted(model="m", states=("done",)).fits(row), Wanted(model="m:1").fits(row)
        (True, False)
        """
        model = row.get("model") or ""
        return (
            (not self.states or row["state"] in self.states)
            and (self.model is None or self.model in (model, model.rpartition(":")[0]))
            and (self.team is None or row.get("team") == self.team)
            and (self.since is None or (row.get("created") or "") >= self.since)
        )


EVERY_JOB = Wanted()
