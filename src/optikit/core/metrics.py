"""Timings -> Measurement: percentiles with intervals, rates, shares over the limits, the slope."""

from __future__ import annotations

import math
import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv

from optikit.core.evidence import Excess, excess, gaps_ms, values_ms
from optikit.core.steady import steady_slope
from optikit.core.timings import Timings
from optikit.spec.record import BoundEvidence, Measurement, Quantile
from optikit.spec.slo import Bound, Goodput, Metric, Slo

__all__ = [
    "STANDARD",
    "broken_requests",
    "evidence_of",
    "inflation",
    "lag_ms",
    "measure",
    "quantile",
    "share_interval",
]

Vector = NDArray[np.float64]
STANDARD: tuple[tuple[Metric, float], ...] = tuple(
    (metric, percentile)
    for metric in ("e2e", "ttft", "tpot", "itl")
    for percentile in (50.0, 95.0, 99.0)
)
"""Percentiles of every measurement, asked for or not (itl where every token's time was kept)."""
LAG_PERCENTILE = 99.0
_TAIL = 0.025  # on each side of a 95 % interval
_ROUNDING = 1e-9  # 0.55 * 100 is a little more than 55
_BROKEN = re.compile(r"client:|asked |HTTP 4(?!29)")
_BATCHES = 16
_SMALLEST_BATCH = 8


def measure(timings: Timings, slo: Slo, offered_rps: float | None = None) -> Measurement:
    """The measured requests of one probe in numbers.

    Latencies, tokens and the slope are of completed requests, the client's lag of all that were
    sent. Where nothing was completed, rates and mean are 0 and there are no quantiles of latency.

    Args:
        offered_rps: rate of the open loop; None for a closed loop, which has no slope.
    """
    part = timings.measured()
    ok = part.ok
    due = part.scheduled_s[np.isfinite(part.scheduled_s)]  # a closed loop may not come to all
    first = float(due.min()) if len(due) else 0.0
    last = float(part.end_s[ok].max()) if ok.any() else first
    duration = last - first
    per_second = 1.0 / duration if duration > 0 else 0.0
    output = int(part.output_tokens[ok].sum())
    prompt = int(part.prompt_tokens[ok].sum())
    e2e = values_ms(part, "e2e")[ok]
    slope = steady_slope(part.scheduled_s[ok], part.end_s[ok]) if offered_rps is not None else None
    bounds = tuple(evidence_of(bound, excess(part, bound)) for bound in slo.bounds)
    spans = np.nan_to_num(part.end_s - part.sent_s)[ok]
    return Measurement(
        requests=len(part),
        completed=int(ok.sum()),
        failed=len(part.errors),
        offered_rps=offered_rps,
        achieved_rps=int(ok.sum()) * per_second,
        output_tokens_per_s=output * per_second,
        total_tokens_per_s=(output + prompt) * per_second,
        duration_s=duration,
        quantiles=_quantiles(part, slo),
        bounds=bounds,
        goodput_rps=_kept(part, slo) * per_second if slo.bounds else None,
        mean_e2e_ms=float(e2e.mean()) if len(e2e) else 0.0,
        mean_in_flight=float(spans.sum()) * per_second,
        slope=slope.value if slope else None,
        slope_low=slope.low if slope else None,
        slope_high=slope.high if slope else None,
        error_sample=part.errors[min(part.errors)] if part.errors else None,
    )


def _kept(part: Timings, slo: Slo) -> int:
    """Requests that kept every limit."""
    kept = part.ok
    for bound in slo.bounds:
        kept = kept & (excess(part, bound).over == 0)
    return int(kept.sum())


def _quantiles(part: Timings, slo: Slo) -> tuple[Quantile, ...]:
    wanted = [(bound.metric, bound.percentile) for bound in slo.percentiles]
    values: dict[str, Vector] = {}
    for metric in ("e2e", "ttft", "tpot"):
        found = values_ms(part, metric)
        values[metric] = found[np.isfinite(found)]
    values["itl"] = gaps_ms(part)[0]
    tested = [
        quantile(metric, values[metric], percentile)
        for metric, percentile in dict.fromkeys((*STANDARD, *wanted))
        if len(values[metric])
    ]
    lags = lag_ms(part)
    return (*tested, quantile("lag", lags, LAG_PERCENTILE)) if len(lags) else tuple(tested)


def lag_ms(timings: Timings) -> Vector:
    """How late the client sent each request that it sent."""
    lags = 1e3 * (timings.sent_s - timings.scheduled_s)
    return lags[np.isfinite(lags)]


def inflation(flags: Vector) -> float:
    """How many times larger the variance of a share is than that of independent requests.

    Requests that arrive together wait together. By batch means (Law, Simulation Modeling and
    Analysis, 5th ed. 2015, section 9.5.3): 16 batches of consecutive requests; at least 1.
    """
    n = len(flags)
    batches = min(_BATCHES, n // _SMALLEST_BATCH)
    share = float(flags.mean()) if n else 0.0
    if batches < 4 or not 0 < share < 1:
        return 1.0
    means = np.array([part.mean() for part in np.array_split(flags, batches)])
    independent = share * (1 - share) / n
    return max(1.0, float(means.var(ddof=1)) / batches / independent)


def quantile(
    metric: Literal["e2e", "ttft", "tpot", "itl", "lag"],
    values_in_order_ms: Vector,
    percentile: float,
) -> Quantile:
    """The smallest value with at least ``percentile`` % of the sample at or below it.

    Its 95 % interval is made of two order statistics of the sample and needs no distribution:
    with B ~ Binomial(n, p), the l-th value is a lower bound when P[B <= l - 1] <= 2.5 %, the u-th
    an upper bound when P[B >= u] <= 2.5 % (David and Nagaraja, Order Statistics, 3rd ed. 2003,
    section 7.1). That counts on independent requests; where batch means say that they are worth
    fewer, the ranks are those of so many.

    Args:
        values_in_order_ms: the sample in order of arrival, not empty.

    >>> quantile("e2e", np.arange(1.0, 21.0), 50.0)
    Quantile(metric='e2e', percentile=50.0, value_ms=10.0, low_ms=6.0, high_ms=15.0)
    """
    ordered = np.sort(values_in_order_ms)
    n, p = len(ordered), percentile / 100.0
    value = float(ordered[min(max(math.ceil(p * n - _ROUNDING), 1), n) - 1])
    worth = max(int(n / inflation((values_in_order_ms > value).astype(np.float64))), 1)
    below = bdtr(np.arange(worth + 1, dtype=np.float64), worth, p)  # below[k] = P[B <= k]
    low = int(np.count_nonzero(below[:worth] <= _TAIL))  # largest l with P[B <= l - 1] <= 2.5 %
    above = 1.0 - below[:worth]  # above[u - 1] = P[B >= u]
    high = worth - int(np.count_nonzero(above <= _TAIL)) + 1  # smallest u with P[B >= u] <= 2.5 %
    return Quantile(
        metric=metric,
        percentile=percentile,
        value_ms=value,
        low_ms=float(ordered[max(low * n // worth, 1) - 1]) if low >= 1 else None,
        high_ms=float(ordered[min(-(-high * n // worth), n) - 1]) if high <= worth else None,
    )


def share_interval(share: float, worth: float, tail: float = _TAIL) -> tuple[float, float]:
    """Interval of a share seen over so many independent requests.

    Clopper and Pearson (Biometrika 26, 1934, p. 404), for counts that need not be whole.

    >>> [round(edge, 3) for edge in share_interval(0.0, 100)]
    [0.0, 0.036]
    """
    over = share * worth
    low = float(betaincinv(over, worth - over + 1, tail)) if over > 0 else 0.0
    high = float(betaincinv(over + 1, worth - over, 1 - tail)) if over < worth else 1.0
    return low, high


def evidence_of(bound: Bound | Goodput, found: Excess, tail: float = _TAIL) -> BoundEvidence:
    """The share over the limit with its interval; correlation by batch means.

    The correlation is read at the limit and at the percentile that is bounded: where few requests
    are over the limit, they alone say too little of it.
    """
    units = float(found.units.sum())
    share = float(found.over.sum()) / units if units else 1.0
    known = found.score[np.isfinite(found.score)]
    at_limit = inflation((found.over > 0).astype(np.float64))
    at_percentile = 1.0
    if len(known):
        at_percentile = inflation((known > np.quantile(known, 1 - bound.allowed)).astype(float))
    requests = float(np.count_nonzero(found.units))
    worth = max(requests / max(at_limit, at_percentile), 1e-9)
    low, high = share_interval(share, worth, tail) if requests else (0.0, 1.0)
    return BoundEvidence(
        bound=str(bound),
        allowed=bound.allowed,
        counted=int(units),
        over=int(found.over.sum()),
        share=share,
        low=low,
        high=high,
        effective=worth,
    )


def broken_requests(timings: Timings) -> int:
    """Measured requests that failed and say nothing about the server's speed.

    They could not be sent (``client: ...``), were refused as wrong (``HTTP 4xx``, but not 429,
    which is load), or were answered otherwise than asked (``asked 8 tokens, got 5``).
    """
    return sum(1 for text in timings.measured().errors.values() if _BROKEN.match(text))
