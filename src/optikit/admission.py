"""A queued job's driver asks before a stage that holds devices, and says when it gave them back.

Both sides write into the job's journal, the queue with ``grant`` and ``refuse``: what was asked,
granted and given back outlives a driver and the service, and needs no port. Events::

    stage_asked    key, need        the driver waits
    stage_granted  key, node        it may go on
    stage_refused  key, reason      no node or quota can ever serve it
    stage_left     key              the devices are free again
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from optikit.errors import DoesNotFit
from optikit.journal import Journaled
from optikit.spec.queue import Need

__all__ = ["Ask", "admitted", "asks_of", "grant", "refuse", "waited_s"]

_POLL_S = 0.2


@contextmanager
def admitted(
    journal: Journaled,
    need: Need,
    alive: Callable[[], None] = lambda: None,
    poll_s: float = _POLL_S,
) -> Iterator[str]:
    """Hold what a stage needs: the block runs once the queue grants it; yields the node's name.

    A wait has no end of its own: a service that is down grants when it is back.

    Args:
        need: its key is new in this journal.
        alive: called while waiting; what it raises ends the wait.

    Raises:
        DoesNotFit: the queue says that it can never be served.
    """
    offset = journal.journal.stat().st_size if journal.journal.exists() else 0
    journal.event("stage_asked", key=need.key, need=need.model_dump(mode="json"))
    try:
        yield _answer(journal, need.key, offset, alive, poll_s)
    finally:
        journal.event("stage_left", key=need.key)


def _answer(
    journal: Journaled, key: str, offset: int, alive: Callable[[], None], poll_s: float
) -> str:
    while True:
        for event, end in journal.events_and_ends(offset):
            offset = end
            if event.get("key") != key:
                continue
            if event["kind"] == "stage_granted":
                return str(event["node"])
            if event["kind"] == "stage_refused":
                raise DoesNotFit(str(event["reason"]))
        alive()
        time.sleep(poll_s)


def grant(journal: Journaled, key: str, node: str) -> None:
    """Let the stage begin on a node."""
    journal.event_now("stage_granted", key=key, node=node)


def refuse(journal: Journaled, key: str, reason: str) -> None:
    """Tell the driver that nothing can ever serve what it asks for."""
    journal.event_now("stage_refused", key=key, reason=reason)


@dataclass
class Ask:
    """One stage's way through the queue; seconds since the epoch."""

    need: Need
    asked_s: float
    granted_s: float | None = None
    node: str | None = None
    left_s: float | None = None
    refused: bool = False

    @property
    def open(self) -> bool:
        """It waits, or holds what it was granted."""
        return self.left_s is None and not self.refused


def asks_of(
    events: Iterable[dict[str, Any]], known: dict[str, Ask] | None = None
) -> dict[str, Ask]:
    """Every ask of a journal by key, in the order in which they were made.

    Args:
        known: asks of earlier events; they are brought up to date, and returned.
    """
    found = {} if known is None else known
    for event in events:
        kind, ask = event["kind"], found.get(str(event.get("key")))
        if kind == "stage_asked":
            need = Need.parse(event["need"])
            found[need.key] = Ask(need, event["t"])
        elif ask is None:
            continue
        elif kind == "stage_granted" and ask.granted_s is None:
            ask.granted_s, ask.node = event["t"], str(event["node"])
        elif kind == "stage_refused":
            ask.refused = True
        elif kind == "stage_left":
            ask.left_s = event["t"]
    return found


def waited_s(asks: Iterable[Ask], now_s: float) -> float:
    """Seconds that a job stood in the queue: no time of its budget."""
    total = 0.0
    for ask in asks:
        ends = [t for t in (ask.granted_s, ask.left_s, now_s) if t is not None]
        total += max(0.0, min(ends) - ask.asked_s)
    return total
