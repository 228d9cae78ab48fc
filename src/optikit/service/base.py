"""What the parts of the service ask of one another."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from optikit.spec.queue import QueuedJob, Team

__all__ = ["Book", "QueueView"]


class Book(Protocol):
    """Who there is, and what was submitted: what must outlive the service."""

    def live(self) -> list[QueuedJob]:
        """Jobs that have not ended, in the order of their submission."""

    def teams(self) -> list[Team]:
        """Every team."""

    def set_state(self, job_id: str, state: Literal["queued", "started", "ended"]) -> None:
        """How far a job has come."""


class QueueView(Protocol):
    """What of the queue may be shown to a team."""

    def places(self, team: str) -> list[dict[str, Any]]:
        """The team's live jobs and what they wait for."""

    def level(self, team: str) -> float:
        """Device-hours per weight; the lowest is first."""

    def between_turns(self) -> AbstractContextManager[Any]:
        """No job changes its state while this is held: for who takes one out, or puts it back."""
