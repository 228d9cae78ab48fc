"""A job's events as lines of a log, for those who cannot reach its archive.

The driver of a job on a cluster prints them among whatever else is printed; who follows the log
finds them again. A line is ``@optikit {...}``; it may stand behind text that another process left
without a line end. What a follower does not need (a probe's percentiles, records, process groups)
stays in the archive: a log is read whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MARK", "LogReader", "event_line", "split_log"]

MARK = "@optikit "
_SHOWN = frozenset(
    {
        *("created", "planned", "state", "stage", "trial_started", "probe", "trial", "note"),
        *("attempt_failed", "cancel_asked", "reaped", "tracker_failed", "summary"),
    }
)


def event_line(event: Mapping[str, Any]) -> str | None:
    """The line of an event with its end; None where nobody needs it outside of the archive.

    >>> event_line({"t": 1.0, "kind": "note", "text": "one"})
    '@optikit {"t": 1.0, "kind": "note", "text": "one"}\\n'
    """
    if event["kind"] not in _SHOWN:
        return None
    shown = dict(event)
    if event["kind"] == "probe":
        shown["probe"] = {k: v for k, v in event["probe"].items() if k != "measurement"}
    if event["kind"] == "trial" and event["trial"].get("rate"):
        rate = {k: v for k, v in event["trial"]["rate"].items() if k != "probes"}
        shown["trial"] = {**event["trial"], "rate": rate}
    return f"{MARK}{json.dumps(shown)}\n"


class LogReader:
    """Takes a log apart as it grows, whatever its pieces are cut at."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> tuple[list[dict[str, Any]], str]:
        """The events whose lines ``text`` completes, and what else stands in whole lines."""
        *lines, self._rest = (self._rest + text).split("\n")
        return split_log(lines)


def split_log(lines: Iterable[str]) -> tuple[list[dict[str, Any]], str]:
    """Events and the other lines of a log; a line that is damaged counts as text."""
    events, other = [], []
    for line in lines:
        before, mark, data = line.partition(MARK)
        event = _event_of(data) if mark else None
        if event is None:
            other.append(f"{line}\n")
            continue
        events.append(event)
        if before:
            other.append(f"{before}\n")
    return events, "".join(other)


def _event_of(data: str) -> dict[str, Any] | None:
    try:
        event = json.loads(data)
    except ValueError:
        return None
    whole = isinstance(event, dict) and "kind" in event and isinstance(event.get("t"), float | int)
    return event if whole else None
