"""The over-saturation rule of GuideLLM 0.8.1 with its defaults, beside which ours is shown.

Written from the documentation in its module ``guidellm/scheduler/constraints/saturation.py``
(Apache-2.0): a probe is over-saturated when, after 30 s, the slopes of concurrency and of the time
to first token over a sliding window (120 s, at most three quarters of all points) are positive with
a margin of error below twice the slope, and half of the window's first tokens took over 2.5 s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from optikit.core.doubling import DoublingSearch
from optikit.core.load import Load
from optikit.core.search import ProbeRequest
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement, judge_open
from optikit.spec.record import Measurement

MIN_S, MIN_TTFT_S, WINDOW_S, WINDOW_SHARE, MARGIN, FEWEST = 30.0, 2.5, 120.0, 0.75, 2.0, 5

Vector = NDArray[np.float64]


def oversaturated(timings: Timings) -> bool:
    """Whether the rule fires at any moment of the probe."""
    part = timings.measured()
    known = np.isfinite(part.first_token_s)
    sent = np.sort(part.sent_s)
    ends = np.sort(part.end_s[np.isfinite(part.end_s)])
    concurrent = np.arange(1, len(sent) + 1) - np.searchsorted(ends, sent, side="right")
    order = np.argsort(part.first_token_s[known])
    firsts = part.first_token_s[known][order]
    ttft = (part.first_token_s - part.sent_s)[known][order]
    now = np.sort(np.concatenate([sent, firsts]))
    now = now[now >= MIN_S]
    if not len(now):
        return False
    rising_a, count_a, _ = _slopes(sent, concurrent.astype(float), now, None)
    rising_b, count_b, slow = _slopes(firsts, ttft, now, MIN_TTFT_S)
    alert = (count_a >= FEWEST) & rising_a & (np.minimum(now, count_b) < FEWEST)
    alert |= (count_a >= FEWEST) & rising_a & rising_b
    return bool(np.any(alert & (count_b <= 2 * slow)))


def _slopes(
    at: Vector, y: Vector, now: Vector, limit: float | None
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Is the slope of the window before each moment surely positive; its points; those slow."""
    sums = [np.concatenate([[0.0], np.cumsum(v)]) for v in (at, y, at * y, at * at, y * y)]
    over = np.concatenate([[0], np.cumsum(y > limit)]) if limit else np.zeros(len(at) + 1, int)
    last = np.searchsorted(at, now, side="right")
    first = np.maximum(
        np.searchsorted(at, now - WINDOW_S), last - (WINDOW_SHARE * last).astype(int)
    )
    n = last - first
    sx, sy, sxy, sxx, syy = (s[last] - s[first] for s in sums)
    points = np.maximum(n, 1)
    xx = np.maximum(sxx - sx * sx / points, 1e-12)
    xy, yy = sxy - sx * sy / points, syy - sy * sy / points
    slope = xy / xx
    degrees = np.maximum(np.minimum(now, n) - 2, 1e-9)
    error = np.sqrt(np.maximum(yy - xy * xy / xx, 0) / degrees / xx)
    margin = stdtrit(degrees, 0.975) * error / np.maximum(slope, 1e-12)
    rising = (slope > 0) & (margin < MARGIN) & (np.minimum(now, n) >= 3)
    return rising, n, over[last] - over[first]


class OverSaturationSearch(DoublingSearch):
    """Doubling and bisection; a probe fails when its percentiles do or the rule fires."""

    def judge(
        self, request: ProbeRequest, load: Load, timings: Timings, measurement: Measurement
    ) -> tuple[Judgement, Measurement]:
        if request.phase != "open":
            return super().judge(request, load, timings, measurement)
        if oversaturated(timings):
            return Judgement("fail", "over-saturated"), measurement
        flat = measurement.model_copy(update={"slope": 1.0, "slope_low": 1.0, "slope_high": 1.0})
        slo, method = self._question.slo, self._method
        return judge_open(slo, flat, method), measurement
