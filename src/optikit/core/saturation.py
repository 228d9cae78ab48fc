"""Throughput of a server that always has somebody waiting: a bound on every sustainable rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from optikit.core.timings import Timings

__all__ = ["Saturation", "saturation"]

_LEAST_ERROR = 0.01
_PARTS = 8


class Saturation(NamedTuple):
    """Completions per second and the standard error of its logarithm."""

    rate_rps: float
    error: float
    in_flight: float
    """Requests sent and not ended, on average."""


def saturation(timings: Timings) -> Saturation | None:
    """The rate of a closed loop's measured completions.

    Completions come in waves as large as the batch; the rate is the number of completions between
    the mean time of one half of them and that of the other, which evens whole waves out. Its error
    is the smaller of two answers: the difference of overlapping thirds (good where completions
    come in waves), and the spread of eight parts (good where they do not).

    Returns:
        None with fewer than 12 completions, or all at one instant.
    """
    part = timings.measured()
    ends = np.sort(part.end_s[part.ok])
    n = len(ends)
    if n < 12 or not ends[-1] > ends[0]:
        return None
    half = n // 2
    rate = _between(ends[:half], ends[n - half :])
    third = n // 3
    first = _between(ends[:third], ends[third : 2 * third])
    last = _between(ends[third : 2 * third], ends[2 * third : 3 * third])
    waves = abs(np.log(first / last)) / 2 / np.sqrt(2)
    spans_of_parts = np.diff([ends[k * (n - 1) // _PARTS] for k in range(_PARTS + 1)])
    parts = float(np.std(spans_of_parts, ddof=1) / np.mean(spans_of_parts) / np.sqrt(_PARTS))
    error = min(float(waves), parts)
    spans = float(np.sum(part.end_s[part.ok] - part.sent_s[part.ok]))
    # Little's law: in flight = rate x latency
    return Saturation(rate, max(error, _LEAST_ERROR), rate * spans / n)


def _between(early: np.typing.NDArray[np.float64], late: np.typing.NDArray[np.float64]) -> float:
    """Completions per second from the middle of one group to that of the next of equal size."""
    apart = float(late.mean() - early.mean())
    return len(early) / apart if apart > 0 else float("inf")
