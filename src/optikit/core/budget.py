"""What a job has used, from its journal, on a clock that nobody sets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["steady", "used"]

_NOT_THE_DRIVERS = frozenset({"cancel_asked", "stage_granted", "stage_refused"})
"""Events that others write: they do not show that the driver lived."""


def steady(events: Iterable[Mapping[str, Any]]) -> list[float]:
    """When each event happened: seconds on one line that begins at the first one's ``t``.

    Two events of one boot of one machine lie as far apart as their ``up`` says, whatever was done
    to the wall clock between them. Where only the wall clock is there to ask (another machine,
    another boot, an older archive), it is believed as far as it goes forward.
    """
    found: list[float] = []
    offsets: dict[str, float] = {}
    line: float | None = None
    wall: float | None = None
    for event in events:
        at, up, boot = float(event["t"]), event.get("up"), str(event.get("boot") or "")
        known = bool(boot) and isinstance(up, int | float)
        if known and boot in offsets:
            line = float(up or 0.0) + offsets[boot]
        else:
            line = at if line is None or wall is None else line + max(0.0, at - wall)
            if known:
                offsets[boot] = line - float(up or 0.0)
        wall = at
        found.append(line)
    return found


def used(events: Sequence[Mapping[str, Any]], at_s: Sequence[float]) -> tuple[float, float]:
    """Seconds in which a driver was at work, over all runs, and device-seconds.

    A run whose driver vanished counts up to its last event; the last run, if it has not ended, up
    to the last of ``events``.

    Args:
        at_s: when each event happened, from :func:`steady`.
    """
    wall_s, device_s = 0.0, 0.0
    since: float | None = None
    last = 0.0
    for event, at in zip(events, at_s, strict=True):
        if event["kind"] == "state":
            if since is not None:
                ended = last if event.get("state") in ("starting", "running") else at
                wall_s += max(0.0, ended - since)
            since = at if event.get("state") == "running" else None
        elif event["kind"] == "occupied":
            device_s += float(event["devices"]) * float(event["seconds"])
        if event["kind"] not in _NOT_THE_DRIVERS:
            last = at
    if since is not None:
        wall_s += max(0.0, at_s[-1] - since)
    return wall_s, device_s
