"""Slo x Measurement -> pass | fail | inconclusive | void, with the reason in words."""

from __future__ import annotations

from dataclasses import dataclass, field

from optikit.core.metrics import LAG_PERCENTILE
from optikit.spec.job import MethodChoice
from optikit.spec.record import Measurement, Quantile, Verdict
from optikit.spec.slo import Bound, Slo

__all__ = [
    "FAILED_SHARE",
    "MIN_COMPLETED",
    "MIN_LATENCIES",
    "Judgement",
    "judge_closed",
    "judge_open",
]

FAILED_SHARE = 0.01
"""More failed requests than this share decide the probe, whatever the others' latency."""
MIN_COMPLETED = 20
"""An open loop of fewer completed requests decides nothing."""
MIN_LATENCIES = 5.0
"""Arrivals must go on for this many mean latencies: a run that fits into one batch ends before
the server can fall behind, and passes at any rate (measured: 31 times the capacity)."""


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
        found = measurement.quantile(bound.metric, bound.percentile)
        if found is None:
            unsure.append(f"{_name(bound)} was not measured")
            continue
        margins[str(bound)] = 1 - found.value_ms / bound.limit_ms
        text = _compare(bound, found)
        if found.value_ms <= bound.limit_ms:
            said.append(text)
        elif found.low_ms is not None and found.low_ms > bound.limit_ms:
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
    if lag is not None and lag.value_ms > method.max_lag_ms:
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
        found = measurement.quantile(bound.metric, bound.percentile)
        if found is None:
            unsure.append(f"{_name(bound)} was not measured")
            continue
        margins[str(bound)] = 1 - found.value_ms / bound.limit_ms
        (said if found.value_ms <= bound.limit_ms else missed).append(_compare(bound, found))
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


def _void_failed(measurement: Measurement, failed: int) -> Judgement:
    return Judgement(
        "void",
        f"{failed} of {measurement.requests} requests failed ({measurement.error_sample}), "
        "which says nothing about the rate",
    )


def _name(bound: Bound) -> str:
    return f"p{bound.percentile:g}({bound.metric})"


def _compare(bound: Bound, found: Quantile) -> str:
    above = found.value_ms > bound.limit_ms
    sign = ">" if above else "<="
    text = f"{_name(bound)} {_figure(found.value_ms)} ms {sign} {bound.limit_ms:g} ms"
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
