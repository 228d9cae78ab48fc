"""What one team may send: how large, how deep, how often, how much at a time."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optikit.errors import SpecError
from optikit.service.refusals import TooLarge, TooMany

__all__ = ["Buckets", "Limits", "check_depth", "check_text"]

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


@dataclass(frozen=True)
class Limits:
    """Defaults that hold; a site changes them in code alone."""

    body_bytes: int = 1_000_000
    """Of one request."""
    depth: int = 32
    """Lists and mappings inside one another; a job spec needs five."""
    body_s: float = 30.0
    """Until a request's body must be there."""
    per_minute: float = 60.0
    """Submissions, plans and resumes of a team."""
    burst: int = 20
    """Of them, at once."""
    live_jobs: int = 500
    """Jobs of a team that have not ended."""


class Buckets:
    """A token bucket a team.

    Args:
        clock: seconds of any beginning.
    """

    def __init__(
        self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_minute / 60.0, float(burst), clock
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, team: str) -> None:
        """One request of the team.

        Raises:
            TooMany: says when the next one is taken.
        """
        with self._lock:
            now = self._clock()
            left, since = self._left.get(team, (self._burst, now))
            left = min(self._burst, left + max(0.0, now - since) * self._per_s)
            enough = left >= 1.0
            self._left[team] = (left - 1.0 if enough else left, now)
        if not enough:
            raise TooMany(
                f"team {team} asked too often: {self._per_s * 60:g} a minute, {self._burst:g} at "
                "once; the header Retry-After says in how many seconds the next one is taken",
                (1.0 - left) / self._per_s,
            )


def check_depth(content: bytes, deepest: int) -> None:
    """Count brackets of JSON before anything is built of it; text that is no JSON passes.

    Raises:
        TooLarge: nested deeper.
    """
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b'""', content)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > deepest:
            raise TooLarge(f"the request nests deeper than {deepest}; a job spec needs five")


def check_text(data: Any, where: str = "spec") -> None:
    """Every text can be a path, a database's value and UTF-8.

    Raises:
        SpecError: names the key whose text cannot.
    """
    if isinstance(data, dict):
        for key, value in data.items():
            check_text(key, where)
            check_text(value, f"{where}.{key}")
    elif isinstance(data, list):
        for number, value in enumerate(data):
            check_text(value, f"{where}.{number}")
    elif isinstance(data, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in data):
        shown = ascii(where)[1:-1]
        raise SpecError(f"{shown:.200}: the text has a character that is none (NUL or a surrogate)")
