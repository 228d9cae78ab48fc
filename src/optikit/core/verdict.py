"""Slo x Measurement -> pass | fail | inconclusive | void, with the reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from optikit.core.metrics import LAG_PERCENTILE
from optikit.spec.job import MethodChoice
from optikit.spec.record import Measurement, Quantile, Verdict
from optikit.spec.slo import Bound, Goodput, Slo

__all__ = [
    "FAILED_SHARE",
    "MIN_COMPLETED",
    "MIN_LATENCIES",
    "Judgement",
    "client_late",
    "gross_lag",
    "judge_closed",
    "judge_evidence",
    "judge_open",
]

FAILED_SHARE = 0.01
"""More failed requests than this share decide the probe, whatever the others' latency."""
MIN_COMPLETED = 20
"""An open loop of fewer completed requests decides nothing."""
MIN_LATENCIES = 5.0
"""Arrivals must go on for this many mean latencies: a run that fits into one batch ends before
the server can fall behind, and passes at any rate (measured: 31 times the capacity)."""


LAG_SHARE = 0.1
"""A client that is late by more than this share of the tightest limit could change a verdict."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, its reason, and the room left under each bound.

    ``margins``: by bound (or ``slope``), 1 - value / limit; negative where it is broken.
    """

    verdict: Verdict
    reason: str
    margins: dict[str, float] = field(default_factory=dict)


def judge_closed(slo: Slo, measurement: Measurement, *, broken: int = 0) -> Judgement:
    """The server without queueing (closed loop, concurrency 1): can the SLO hold at all?

    ``fail`` only where a bound's whole interval lies above its limit: of the few requests of
    this phase one straggler would otherwise reject a good configuration. Where only the point
    estimate is above, the verdict is ``inconclusive`` and the open loop has to decide. Failed
    requests make the probe ``void``: they tell nothing about latency.

    Args:
        broken: how many requests failed by no fault of the server (``broken_requests``).
    """
    if measurement.failed or not measurement.completed:
        return _void_failed(measurement, max(broken, measurement.failed))
    missed: list[str] = []
    unsure: list[str] = []
    said: list[str] = []
    margins: dict[str, float] = {}
    for bound in slo.bounds:
        low, value, text = _found(bound, measurement)
        if value is None:
            unsure.append(text)
            continue
        margins[str(bound)] = 1 - value
        if value <= 1:
            said.append(text)
        elif low is not None and low > 1:
            missed.append(text)
        else:
            unsure.append(text)
    if missed:
        return Judgement("fail", "with no queueing: " + "; ".join(missed), margins)
    if unsure:
        return Judgement("inconclusive", "with no queueing: " + "; ".join(unsure), margins)
    return Judgement("pass", "with no queueing: " + ("; ".join(said) or "no SLO"), margins)


def judge_open(
    slo: Slo, measurement: Measurement, method: MethodChoice, *, broken: int = 0
) -> Judgement:
    """One open-loop probe, by the rule of method ``doubling``: point estimates decide.

    In this order: ``void`` when the client lagged or its requests were broken; ``fail`` when more
    than 1 % of the requests failed; ``inconclusive`` below 20 completed; ``fail`` when a bound is
    broken or the slope exceeds 1 by more than the tolerance; ``inconclusive`` when the arrivals
    were over too soon to show a backlog; else ``pass``. The reason says where an interval
    reaches across its limit.

    Args:
        broken: how many requests failed by no fault of the server (``broken_requests``).
    """
    lag = measurement.quantile("lag", LAG_PERCENTILE)
    if lag is not None and gross_lag(measurement, method):
        return Judgement(
            "void",
            f"the client sent late: p99 lag {lag.value_ms:.0f} ms > {method.max_lag_ms:g} ms",
        )
    if broken > FAILED_SHARE * measurement.requests:
        return _void_failed(measurement, broken)
    if measurement.failed > FAILED_SHARE * measurement.requests:
        return Judgement(
            "fail",
            f"{measurement.failed} of {measurement.requests} requests failed "
            f"({measurement.error_sample})",
        )
    if measurement.completed < MIN_COMPLETED:
        return Judgement("inconclusive", f"only {measurement.completed} requests were completed")
    missed: list[str] = []
    unsure: list[str] = []
    said: list[str] = []
    margins: dict[str, float] = {}
    for bound in slo.bounds:
        _, value, text = _found(bound, measurement)
        if value is None:
            unsure.append(text)
            continue
        margins[str(bound)] = 1 - value
        (said if value <= 1 else missed).append(text)
    if measurement.slope is None:
        unsure.append("the slope was not measured")
    else:
        limit = 1 + method.slope_tolerance
        margins["slope"] = 1 - measurement.slope / limit
        (said if measurement.slope <= limit else missed).append(_compare_slope(measurement, limit))
    if missed:
        return Judgement("fail", "; ".join(missed), margins)
    if measurement.offered_rps and not unsure:
        span_s = measurement.requests / measurement.offered_rps
        latency_s = measurement.mean_e2e_ms / 1e3
        if span_s < MIN_LATENCIES * latency_s:
            unsure.append(
                f"arrivals went on for {span_s:.1f} s, too short against a mean latency of "
                f"{latency_s:.1f} s"
            )
    if unsure:
        return Judgement("inconclusive", "; ".join(unsure), margins)
    return Judgement("pass", "; ".join(said), margins)


def judge_evidence(
    slo: Slo,
    measurement: Measurement,
    method: MethodChoice,
    *,
    broken: int = 0,
    scan: bool = False,
) -> Judgement:
    """One probe by the intervals of its evidence: pass, fail or inconclusive.

    In this order: ``void`` when requests were broken, or when the client lagged grossly; ``fail``
    when more than 1 % of the requests failed; ``fail`` when some bound's
    interval lies above what is allowed, or that of the slope above 1 by more than the tolerance;
    ``pass`` when every bound's interval lies within what is allowed (without an SLO: when the
    slope's interval does not exceed 1 by more than the tolerance); else ``inconclusive``.

    Args:
        broken: how many requests failed by no fault of the server (``broken_requests``).
        scan: a closed loop, which only shows where to look: what has not surely failed passes.
    """
    if broken > FAILED_SHARE * measurement.requests:
        return _void_failed(measurement, broken)
    if measurement.failed > FAILED_SHARE * measurement.requests:
        return Judgement(
            "fail",
            f"{measurement.failed} of {measurement.requests} requests failed "
            f"({measurement.error_sample})",
        )
    if gross_lag(measurement, method):
        return Judgement("void", client_late(measurement, method) or "the client sent late")
    missed: list[str] = []
    unsure: list[str] = []
    said: list[str] = []
    margins: dict[str, float] = {}
    for seen in measurement.bounds:
        margins[seen.bound] = 1 - seen.share / seen.allowed
        text = (
            f"{seen.bound}: {seen.share:.2%} over it ({seen.low:.2%} to {seen.high:.2%}), "
            f"{100 * seen.allowed:.3g} % allowed"
        )
        if scan:
            (said if seen.low <= seen.allowed else missed).append(text)
        elif seen.low > seen.allowed:
            missed.append(text)
        elif seen.high <= seen.allowed:
            said.append(text)
        else:
            unsure.append(text)
    limit = 1 + method.slope_tolerance
    if measurement.slope is not None and measurement.slope_low is not None and not scan:
        high = measurement.slope_high or measurement.slope
        text = f"slope {measurement.slope:.3f} ({measurement.slope_low:.3f} to {high:.3f})"
        margins["slope"] = 1 - measurement.slope / limit
        if measurement.slope_low > limit:
            missed.append(f"{text}: the backlog grows")
        elif not slo.bounds:
            (said if measurement.slope <= limit else unsure).append(text)
        elif measurement.slope > limit:
            unsure.append(text)
    elif not slo.bounds and not scan:
        unsure.append("the slope was not measured")
    if missed:
        return Judgement("fail", "; ".join(missed), margins)
    if unsure:
        return Judgement("inconclusive", "; ".join(unsure), margins)
    return Judgement("pass", "; ".join(said) or "nothing failed", margins)


def client_late(measurement: Measurement, method: MethodChoice) -> str | None:
    """Whether the client's lag could change the verdict, in words; None where it could not.

    Latency counts from when a request was really sent, so a late client hides its own delay. Up
    to a tenth of the tightest limit is no matter.
    """
    lag = measurement.quantile("lag", LAG_PERCENTILE)
    if lag is None:
        return None
    tightest = min(_limits_ms(measurement), default=math.inf)
    most = min(method.max_lag_ms, LAG_SHARE * tightest)
    if _surely(lag) <= most:
        return None
    return f"the client sent late: p99 lag {lag.value_ms:.0f} ms, up to {most:.3g} ms would do"


def gross_lag(measurement: Measurement, method: MethodChoice) -> bool:
    """Whether the client was so late that the arrivals were not those asked for."""
    lag = measurement.quantile("lag", LAG_PERCENTILE)
    return lag is not None and _surely(lag) > method.max_lag_ms


def _surely(lag: Quantile) -> float:
    """Lower end of the interval: of few requests the 99th percentile is the one worst."""
    return lag.value_ms if lag.low_ms is None else lag.low_ms


def _limits_ms(measurement: Measurement) -> list[float]:
    slo = Slo.model_validate([seen.bound for seen in measurement.bounds])
    return [limit.limit_ms for bound in slo.bounds for limit in bound.limits]


def _void_failed(measurement: Measurement, failed: int) -> Judgement:
    return Judgement(
        "void",
        f"{failed} of {measurement.requests} requests failed ({measurement.error_sample}), "
        "which says nothing about the rate",
    )


def _found(
    bound: Bound | Goodput, measurement: Measurement
) -> tuple[float | None, float | None, str]:
    """Lower end and value of what is bounded, over its limit, and both in words."""
    if isinstance(bound, Goodput):
        seen = next((e for e in measurement.bounds if e.bound == str(bound)), None)
        if seen is None or not seen.counted:
            return None, None, f"{bound.name} was not measured"
        text = f"{bound.name} {1 - seen.share:.1%}, {bound.share_percent:g} % are asked for"
        return seen.low / bound.allowed, seen.share / bound.allowed, text
    found = measurement.quantile(bound.metric, bound.percentile)
    if found is None:
        return None, None, f"{bound.name} was not measured"
    low = None if found.low_ms is None else found.low_ms / bound.limit_ms
    return low, found.value_ms / bound.limit_ms, _compare(bound, found)


def _compare(bound: Bound, found: Quantile) -> str:
    above = found.value_ms > bound.limit_ms
    sign = ">" if above else "<="
    text = f"{bound.name} {_figure(found.value_ms)} ms {sign} {bound.limit_ms:g} ms"
    surely = (
        found.low_ms is not None and found.low_ms > bound.limit_ms
        if above
        else found.high_ms is not None and found.high_ms <= bound.limit_ms
    )
    return text if surely else f"{text} {_interval(found.low_ms, found.high_ms, 'ms')}"


def _compare_slope(measurement: Measurement, limit: float) -> str:
    slope, low, high = measurement.slope, measurement.slope_low, measurement.slope_high
    assert slope is not None
    above = slope > limit
    text = f"slope {slope:.3f} {'>' if above else '<='} {limit:g}"
    surely = low is not None and high is not None and (low > limit if above else high <= limit)
    return text if surely else f"{text} {_interval(low, high, '')}"


def _interval(low: float | None, high: float | None, unit: str) -> str:
    left = "?" if low is None else _figure(low)
    right = "?" if high is None else _figure(high)
    why = "too few requests to bound it" if low is None or high is None else "reaches across"
    return f"(95 % interval {left} to {right}{' ' if unit else ''}{unit}: {why})"


def _figure(value: float) -> str:
    """Four digits, and never an exponent."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
