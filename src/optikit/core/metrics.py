"""Request timings -> Measurement: percentiles with intervals, rates, the slope."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import bdtr

from optikit.core.steady import steady_slope
from optikit.spec.record import Measurement, Quantile
from optikit.spec.slo import Metric
from optikit.spec.timing import RequestTiming

__all__ = [
    "STANDARD",
    "broken_requests",
    "latencies_ms",
    "measure",
    "quantile",
    "timing_rows",
]

STANDARD: tuple[tuple[Metric, float], ...] = tuple(
    (metric, percentile) for metric in ("e2e", "ttft", "tpot") for percentile in (50.0, 95.0, 99.0)
)
"""Percentiles of every measurement, asked for or not."""
LAG_PERCENTILE = 99.0
_TAIL = 0.025  # on each side of a 95 % interval
_ROUNDING = 1e-9  # 0.55 * 100 is a little more than 55
_BROKEN = re.compile(r"client:|asked |HTTP 4(?!29)")


def measure(
    timings: Sequence[RequestTiming],
    wanted: Iterable[tuple[Metric, float]] = (),
    offered_rps: float | None = None,
) -> Measurement:
    """One probe in numbers.

    Latencies, tokens and the slope are of completed requests, the client's lag of all that were
    sent. Where nothing was completed, rates and mean are 0 and there are no quantiles of latency.

    Args:
        wanted: (metric, percentile) pairs beside the standard ones, such as an SLO's.
        offered_rps: rate of the open loop; None for a closed loop, which has no slope.
    """
    done = [timing for timing in timings if timing.ok]
    failed = [timing for timing in timings if not timing.ok]
    first = min((timing.scheduled_s for timing in timings), default=0.0)
    last = max((timing.end_s for timing in done if timing.end_s is not None), default=first)
    duration = last - first
    per_second = 1.0 / duration if duration > 0 else 0.0
    output = sum(timing.output_tokens for timing in done)
    prompt = sum(timing.prompt_tokens for timing in done)
    e2e = latencies_ms(timings, "e2e")
    slope = None
    if offered_rps is not None:
        ends = [timing.end_s for timing in done if timing.end_s is not None]
        slope = steady_slope([timing.scheduled_s for timing in done], ends)
    return Measurement(
        requests=len(timings),
        completed=len(done),
        failed=len(failed),
        offered_rps=offered_rps,
        achieved_rps=len(done) * per_second,
        output_tokens_per_s=output * per_second,
        total_tokens_per_s=(output + prompt) * per_second,
        duration_s=duration,
        quantiles=_quantiles(timings, wanted),
        mean_e2e_ms=sum(e2e) / len(e2e) if e2e else 0.0,
        slope=slope.value if slope else None,
        slope_low=slope.low if slope else None,
        slope_high=slope.high if slope else None,
        error_sample=next((timing.error or "no answer" for timing in failed), None),
    )


def _quantiles(
    timings: Sequence[RequestTiming], wanted: Iterable[tuple[Metric, float]]
) -> tuple[Quantile, ...]:
    found: list[Quantile] = []
    values = {metric: sorted(latencies_ms(timings, metric)) for metric, _ in STANDARD}
    for metric, percentile in dict.fromkeys((*STANDARD, *wanted)):
        if values[metric]:
            found.append(quantile(metric, values[metric], percentile))
    lags = sorted(latencies_ms(timings, "lag"))
    if lags:
        found.append(quantile("lag", lags, LAG_PERCENTILE))
    return tuple(found)


def latencies_ms(
    timings: Iterable[RequestTiming], metric: Literal["e2e", "ttft", "tpot", "lag"]
) -> list[float]:
    """One metric of each request that has it, in milliseconds, in the order given.

    e2e = end - sent; ttft = first token - sent; tpot = (end - first token) / (output tokens - 1),
    which a request of one output token does not have; lag = sent - scheduled.
    """
    found = []
    for timing in timings:
        sent, first, end = timing.sent_s, timing.first_token_s, timing.end_s
        if metric == "lag":
            if sent is not None:
                found.append(1e3 * (sent - timing.scheduled_s))
            continue
        if not timing.ok or sent is None or first is None or end is None:
            continue
        if metric == "e2e":
            found.append(1e3 * (end - sent))
        elif metric == "ttft":
            found.append(1e3 * (first - sent))
        elif timing.output_tokens > 1:
            found.append(1e3 * (end - first) / (timing.output_tokens - 1))
    return found


def quantile(
    metric: Literal["e2e", "ttft", "tpot", "lag"], ordered_ms: Sequence[float], percentile: float
) -> Quantile:
    """The smallest value with at least ``percentile`` % of the sample at or below it.

    Its 95 % interval is made of two order statistics of the sample and needs no distribution,
    only independent requests: with B ~ Binomial(n, p), the l-th value is a lower bound when
    P[B <= l - 1] <= 2.5 %, the u-th an upper bound when P[B >= u] <= 2.5 % (David and Nagaraja,
    Order Statistics, 3rd ed. 2003, section 7.1). Near saturation requests are correlated and the
    interval is too narrow.

    Args:
        ordered_ms: the sample, ascending, not empty.

    >>> quantile("e2e", [float(v) for v in range(1, 101)], 50.0)
    Quantile(metric='e2e', percentile=50.0, value_ms=50.0, low_ms=40.0, high_ms=61.0)
    """
    n, p = len(ordered_ms), percentile / 100.0
    below = bdtr(np.arange(n + 1, dtype=np.float64), n, p)  # below[k] = P[B <= k]
    low = int(np.count_nonzero(below[:n] <= _TAIL))  # largest l with P[B <= l - 1] <= 2.5 %
    above = 1.0 - below[:n]  # above[u - 1] = P[B >= u]
    high = n - int(np.count_nonzero(above <= _TAIL)) + 1  # smallest u with P[B >= u] <= 2.5 %
    rank = min(max(math.ceil(p * n - _ROUNDING), 1), n)
    return Quantile(
        metric=metric,
        percentile=percentile,
        value_ms=ordered_ms[rank - 1],
        low_ms=ordered_ms[low - 1] if low >= 1 else None,
        high_ms=ordered_ms[high - 1] if high <= n else None,
    )


def broken_requests(timings: Iterable[RequestTiming]) -> int:
    """Failed requests that say nothing about the server's speed.

    They could not be sent (``client: ...``), were refused as wrong (``HTTP 4xx``, but not 429,
    which is load), or were answered otherwise than asked (``asked 8 tokens, got 5``).
    """
    return sum(1 for timing in timings if timing.error and _BROKEN.match(timing.error))


def timing_rows(timings: Iterable[RequestTiming]) -> list[dict[str, Any]]:
    """Plain rows for the archive; ``RequestTiming(**row)`` reads one back."""
    return [dataclasses.asdict(timing) for timing in timings]
