"""What the tune stage may ask of a runner, and what a runner asks of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from optikit.core.packing import Held
from optikit.pools.base import Pool, Resources
from optikit.spec.record import Usage

__all__ = ["LAST_WORDS_S", "Launch", "Runner", "Search", "held_of"]

LAST_WORDS_S = 30.0
"""A trial whose job ran out of time answers with what it knows; it gets this long to do so."""


@dataclass(frozen=True)
class Launch:
    """One trial to run: ``task(*args)`` in a fresh worker. Task, arguments and answer pickle."""

    trial_id: str
    devices: int
    resources: Resources
    expected_s: float | None
    """How long it is thought to hold its devices; None: nobody knows."""
    task: Callable[..., Any]
    args: tuple[Any, ...] = ()


class Search(Protocol):
    """Says what to run next, and hears what came of it. One thread calls it."""

    @property
    def finished(self) -> bool:
        """Nothing is left to start; a failed trial that is to run again makes it False again."""

    @property
    def folder(self) -> Path:
        """Where a runner may keep a state of its own: a folder of this search alone."""

    def next(self, free: int) -> Launch | None:
        """The next trial; None: nothing now, it may be asked again after the next ``done``.

        ``free`` devices are idle now; a trial that needs more waits.

        Raises:
            OptikitError: the search is to end.
        """

    def start(self, launch: Launch) -> None:
        """The trial is about to run."""

    def done(self, launch: Launch, answer: Any, occupied_s: float) -> None:
        """What the task returned, or the OptikitError that it raised or its worker left.

        Raises:
            OptikitError: the search is to end.
        """


class Runner(Protocol):
    """Runs a search to its end."""

    name: str
    pool: str | None
    """The pools that it stands on; None: any."""

    def run(
        self,
        search: Search,
        pool: Pool,
        devices: int | Mapping[str, int],
        left_s: Callable[[], float],
    ) -> Usage:
        """Run trials side by side until the search is finished.

        Errors of a trial are answers. What ``next``, ``done`` or ``left_s`` raise ends the run: the
        search hears of every trial that had answered by then, and of those that answer within
        ``LAST_WORDS_S`` of the end of the job's time; the workers of others end with the pool.

        Args:
            devices: how many there are, or how many on each node by the node's id; then no trial
                spans two nodes and each is told its own.
            left_s: seconds that the job has left; raises BudgetExceeded where none are.
        """


def held_of(launch: Launch, answer: Any, began_s: float, ended_s: float) -> Held:
    """A trial's part of the devices; an answer tells its own seconds if it has such fields."""
    parts = [getattr(answer, f"{part}_s", None) for part in ("startup", "measuring", "teardown")]
    known = [float(part) for part in parts if part is not None]
    return Held(
        devices=launch.devices,
        began_s=began_s,
        ended_s=ended_s,
        measuring_s=float(parts[1] or 0.0),
        own_s=sum(known) if len(known) == len(parts) else None,
    )
