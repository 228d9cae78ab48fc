"""The list of a team's jobs, newest first, with a filter by state."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from optikit.service import reading
from optikit.service.database import Entry
from optikit.service.desk import Desk
from optikit.service.live import STATES, TONES
from optikit.spec.queue import Team

__all__ = ["FILTERS", "Filter", "Listing"]

_PAGE = 50
_LOOKED_AT = 400
"""Jobs that one answer looks at for those of a state; the page then offers to look on."""
_KEPT = 4_000


@dataclass(frozen=True)
class Filter:
    """Some of the jobs."""

    words: str
    states: frozenset[str]


FILTERS = {
    "live": Filter("waiting or running", frozenset({"queued", "starting", "running"})),
    "done": Filter("done", frozenset({"done"})),
    "negative": Filter("negative verdict", frozenset({"negative"})),
    "inconclusive": Filter("no verdict", frozenset({"inconclusive"})),
    "failed": Filter("failed", frozenset({"failed", "rejected", "damaged", "interrupted"})),
    "cancelled": Filter("cancelled", frozenset({"cancelled"})),
}


class Listing:
    """Rows of jobs; those that ended are read once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kept: OrderedDict[tuple[str, int], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, team: Team, wanted: str, before: str | None) -> dict[str, Any]:
        """``rows``; ``next``: the id below which to look on, None at the end; ``live``: whether a
        row will change.

        Args:
            wanted: one of ``FILTERS``, or all where it is empty.
            before: a job's id; only older ones.

        Raises:
            NotFound: no job ``before``.
        """
        states = FILTERS[wanted].states if wanted else None
        rows: list[dict[str, Any]] = []
        looked_at, after = 0, before
        while len(rows) < _PAGE and looked_at < _LOOKED_AT:
            found = self._desk.page(team, _PAGE, after)
            for entry in found:
                row = self._row(entry)
                looked_at, after = looked_at + 1, entry.id
                if states is None or row["state"] in states:
                    rows.append(row)
                if len(rows) == _PAGE:
                    break
            if len(found) < _PAGE:
                break
        more = bool(after and after != before and self._desk.page(team, 1, after))
        live = any(row["state"] in FILTERS["live"].states for row in rows)
        return {"rows": rows, "next": after if more else None, "live": live}

    def _row(self, entry: Entry) -> dict[str, Any]:
        journal = reading.archive_of(entry).journal
        key = (entry.id, journal.stat().st_size if journal.exists() else 0)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and entry.state == "ended":
            return kept
        row = reading.row(entry)
        row |= {
            "team": entry.team,
            "state_words": STATES.get(row["state"], row["state"]),
            "tone": TONES.get(row["state"], "unclear"),
        }
        if entry.state == "ended":
            with self._lock:
                self._kept[key] = row
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return row
