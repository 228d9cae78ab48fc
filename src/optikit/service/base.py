"""What the parts of the service ask of one another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from optikit.spec.queue import QueuedJob, Team

__all__ = ["Book", "Decision", "QueueFacts", "QueueView", "Watcher"]


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


Decision = Literal["granted", "refused", "driver_started", "driver_died"]


@dataclass(frozen=True)
class QueueFacts:
    """The queue at one moment. A team is one that the service knows, or ``removed``."""

    jobs: Mapping[tuple[str, str], int]
    """By team and state: queued, starting or running."""
    waiting: Mapping[tuple[str, str], int]
    """Devices that stages wait for, by team and kind."""
    held: Mapping[tuple[str, str], int]
    """Devices that stages have, by team and kind."""
    oldest_wait_s: Mapping[str, float]
    """By kind; none where nothing waits."""
    nodes: Mapping[str, tuple[int, int]]
    """Nodes and their devices, by kind."""
    longest_silence_s: float
    """Since the last line of the journal of a running job that waits for nothing."""
    turned_s: float
    """When the last turn ended, in seconds since the epoch."""


class Watcher(Protocol):
    """Hears what happens; none of it may raise."""

    def heard(self, event: Mapping[str, Any]) -> None:
        """A new line of a live job's journal."""

    def decided(self, decision: Decision) -> None:
        """The queue did something."""
