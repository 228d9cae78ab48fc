"""What a probe says about one bound, request by request: over the limit or not, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optikit.core.timings import Timings
from optikit.spec.slo import Bound, Goodput, Metric

__all__ = ["Excess", "excess", "gaps_ms", "known_prefix", "values_ms"]

Vector = NDArray[np.float64]


def values_ms(timings: Timings, metric: Metric) -> Vector:
    """One latency a request in milliseconds, NaN where a request has none, shape ``(n,)``.

    e2e = end - sent; ttft = first token - sent; tpot = (end - first token) / (output tokens - 1),
    which a request of one output token does not have; itl: the longest gap of the request.
    """
    bad = ~timings.ok
    if metric == "ttft":
        found = 1e3 * (timings.first_token_s - timings.sent_s)
    elif metric == "e2e":
        found = 1e3 * (timings.end_s - timings.sent_s)
    elif metric == "tpot":
        spans = timings.end_s - timings.first_token_s
        steps = np.where(timings.output_tokens > 1, timings.output_tokens - 1, np.nan)
        found = 1e3 * spans / steps
    else:
        gaps, owners = gaps_ms(timings)
        found = np.full(len(timings), np.nan)
        if len(gaps):
            longest = np.full(len(timings), -np.inf)
            np.maximum.at(longest, owners, gaps)
            found = np.where(np.isfinite(longest), longest, np.nan)
    return np.where(bad, np.nan, found)


def gaps_ms(timings: Timings) -> tuple[Vector, NDArray[np.int64]]:
    """Every gap between two tokens of a completed request, and the request it belongs to."""
    if timings.token_s is None or timings.token_offsets is None:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    counts = np.diff(timings.token_offsets)
    owners = np.repeat(np.arange(len(timings)), counts)
    gaps = 1e3 * np.diff(timings.token_s)
    inside = owners[1:] == owners[:-1]
    keep = inside & timings.ok[owners[1:]] if len(owners) else inside
    return gaps[keep], owners[1:][keep]


@dataclass(frozen=True)
class Excess:
    """One bound over a probe's requests, in order of arrival; vectors of shape ``(n,)``."""

    over: Vector
    """Units over the limit: 0 or 1 a request, for ``itl`` its gaps over the limit."""
    units: Vector
    """Units counted: 1 a request (0 where it has no such latency), for ``itl`` its gaps."""
    score: Vector
    """log(latency / limit), the worst where several limits are joined; NaN where not known."""


def excess(timings: Timings, bound: Bound | Goodput) -> Excess:
    """Hold every request against a bound; a request that failed or never ended is over it."""
    failed = ~timings.ok
    score = np.full(len(timings), -np.inf)
    for limit in bound.limits:
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.log(values_ms(timings, limit.metric) / limit.limit_ms)
        score = np.fmax(score, part)
    score = np.where(failed | np.isneginf(score), np.nan, score)
    if bound.limits[0].metric == "itl":
        gaps, owners = gaps_ms(timings)
        units = np.bincount(owners, minlength=len(timings)).astype(float)
        limit_ms = bound.limits[0].limit_ms
        over = np.bincount(owners[gaps > limit_ms], minlength=len(timings)).astype(float)
        return Excess(over + failed, units + failed, score)
    units = np.where(np.isnan(score) & ~failed, 0.0, 1.0)
    return Excess(np.where(failed | (score > 0), units, 0.0), units, score)


def known_prefix(timings: Timings, bounds: tuple[Bound | Goodput, ...], now_s: float) -> int:
    """How many requests, from the first on, have an outcome under every bound by now.

    A request that is late is over its limit before it ends; counting only those that ended would
    count the fast ones.
    """
    end = np.where(np.isfinite(timings.end_s), timings.end_s, np.inf)
    if timings.errors:
        end[list(timings.errors)] = -np.inf
    sent = np.where(np.isfinite(timings.sent_s), timings.sent_s, np.inf)
    known = np.full(len(timings), -np.inf)
    for bound in bounds:
        late = np.full(len(timings), np.inf)
        for limit in bound.limits:  # one that is missed decides, whatever the others will be
            if limit.metric not in ("e2e", "ttft"):
                continue
            due = sent + limit.limit_ms / 1e3
            if limit.metric == "ttft":  # who has its first token in time is not late for it
                with np.errstate(invalid="ignore"):
                    due = np.where(timings.first_token_s <= due, np.inf, due)
            late = np.minimum(late, due)
        known = np.maximum(known, np.minimum(end, late))
    if not bounds:
        known = end
    open_yet = np.flatnonzero(known > now_s)
    return int(open_yet[0]) if len(open_yet) else len(timings)
