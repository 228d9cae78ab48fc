"""What the figures show, in numbers; pure, so that it can be checked without drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optikit.core.steady import Slope, steady_slope
from optikit.core.timings import Timings
from optikit.spec.record import Measurement, Probe, RateResult, Verdict
from optikit.spec.slo import Bound, Goodput, Slo

__all__ = [
    "Completions",
    "InFlight",
    "Panel",
    "Point",
    "RatePlot",
    "completions",
    "in_flight",
    "rate_plot",
    "shown_probe",
]

Vector = NDArray[np.float64]
OPEN_LOOP = ("open", "certify")
CLOSED_LOOP = ("closed", "scan")
_WITHOUT_SLO = (50.0, 95.0)
_IN_SECONDS_FROM_MS = 5000.0


@dataclass(frozen=True)
class Point:
    """One probe in one panel."""

    number: int
    rate_rps: float
    """Offered; in a closed loop, which offers none, what it achieved."""
    value: float
    low: float | None
    high: float | None
    """95 % interval; None where the sample bounds no such side."""
    verdict: Verdict | None
    """None: a closed loop."""


@dataclass(frozen=True)
class Panel:
    """One figure of merit against the rate."""

    name: str
    unit: str
    limit: float | None
    """In the panel's unit."""
    points: tuple[Point, ...]
    """By rate."""


@dataclass(frozen=True)
class RatePlot:
    """A rate search: a panel for each bound, with the rates that it found."""

    panels: tuple[Panel, ...]
    rate_rps: float | None = None
    certified: bool = False
    low_rps: float | None = None
    high_rps: float | None = None
    bracket: bool = False
    """The interval is from the highest pass to the lowest fail; else it is a 95 % interval."""
    saturation_rps: float | None = None


@dataclass(frozen=True)
class Completions:
    """When each answered request arrived and was complete, seconds, shape ``(n,)`` each."""

    arrived_s: Vector
    completed_s: Vector
    span: NDArray[np.int64]
    """-1 before the measured requests, 0 measured, 1 after them."""
    unanswered: int
    """Measured requests that failed or were still open."""
    slope: Slope | None
    """Over the measured requests."""
    intercept_s: float


@dataclass(frozen=True)
class InFlight:
    """Requests sent and not ended: ``count[i]`` from ``time_s[i]`` to ``time_s[i + 1]``."""

    time_s: Vector
    count: NDArray[np.int64]
    measured_s: tuple[float, float] | None
    """From the first measured arrival to the last measured completion."""
    mean: float | None
    """Over that span."""


def rate_plot(probes: Sequence[Probe], slo: Slo, rate: RateResult | None) -> RatePlot | None:
    """Latency against the rate over one search; None where no probe has anything to show.

    With an SLO there is a panel for each bound and a point for each open loop. Without one the
    panels are p50 and p95 of e2e, and the closed loops are shown too, at the rate they achieved:
    they are most of what that search measures.
    """
    if slo.bounds:
        panels = [_panel(bound, probes) for bound in slo.bounds]
    else:
        panels = [_unbounded(percentile, probes) for percentile in _WITHOUT_SLO]
    if not any(panel.points for panel in panels):
        return None
    if rate is None:
        return RatePlot(tuple(panels))
    return RatePlot(
        panels=tuple(panels),
        rate_rps=rate.rate_rps if rate.outcome == "pass" else None,
        certified=rate.outcome == "pass" and not rate.preliminary,
        low_rps=rate.rate_low_rps,
        high_rps=rate.rate_high_rps,
        bracket=rate.method == "doubling",
        saturation_rps=None if slo.bounds else rate.saturation_rps,
    )


def _panel(bound: Bound | Goodput, probes: Sequence[Probe]) -> Panel:
    opened = [probe for probe in probes if probe.phase in OPEN_LOOP]
    if isinstance(bound, Goodput):
        points = [_missing(bound, probe) for probe in opened]
        known = [point for point in points if point]
        name = f"misses of {bound.name}"
        return Panel(name, "% of requests", 100 * bound.allowed, _by_rate(known))
    return _latencies(bound.name, bound.metric, bound.percentile, bound.limit_ms, opened)


def _unbounded(percentile: float, probes: Sequence[Probe]) -> Panel:
    shown = [probe for probe in probes if probe.phase in OPEN_LOOP + CLOSED_LOOP]
    return _latencies(f"p{percentile:g}(e2e)", "e2e", percentile, None, shown)


def _latencies(
    name: str, metric: str, percentile: float, limit_ms: float | None, probes: Sequence[Probe]
) -> Panel:
    found = []
    for probe in probes:
        seen, x = probe.measurement.quantile(metric, percentile), _rate(probe)
        if seen is not None and x is not None:
            found.append((probe, x, seen))
    size = limit_ms or min((seen.value_ms for _, _, seen in found), default=0.0)
    unit, scale = ("s", 1e-3) if size >= _IN_SECONDS_FROM_MS else ("ms", 1.0)
    points = [
        Point(
            number=probe.number,
            rate_rps=x,
            value=seen.value_ms * scale,
            low=None if seen.low_ms is None else seen.low_ms * scale,
            high=None if seen.high_ms is None else seen.high_ms * scale,
            verdict=_verdict(probe),
        )
        for probe, x, seen in found
    ]
    return Panel(name, unit, None if limit_ms is None else limit_ms * scale, _by_rate(points))


def _missing(bound: Goodput, probe: Probe) -> Point | None:
    """Share of requests that miss the goodput's limits, in percent."""
    found = [item for item in probe.measurement.bounds if item.bound == str(bound)]
    x = _rate(probe)
    if not found or not found[0].counted or x is None:
        return None
    seen = found[0]
    return Point(
        probe.number, x, 100 * seen.share, 100 * seen.low, 100 * seen.high, _verdict(probe)
    )


def _rate(probe: Probe) -> float | None:
    """Where a probe stands on the axis of rates."""
    measured: Measurement = probe.measurement
    found = probe.rate_rps if probe.phase in OPEN_LOOP else measured.achieved_rps
    return found if found and math.isfinite(found) else None


def _verdict(probe: Probe) -> Verdict | None:
    return probe.verdict if probe.phase in OPEN_LOOP else None


def _by_rate(points: Sequence[Point]) -> tuple[Point, ...]:
    return tuple(sorted(points, key=lambda point: (point.rate_rps, point.number)))


def shown_probe(probes: Sequence[Probe], rate: RateResult | None) -> Probe | None:
    """The open loop that stands for a search.

    The last one that passed at the rate that ships, else the last of all; None: there was none.
    """
    opened = [probe for probe in probes if probe.phase in OPEN_LOOP]
    if rate is not None and rate.outcome == "pass" and rate.rate_rps is not None:
        shipped = [
            probe
            for probe in opened
            if probe.verdict == "pass" and math.isclose(probe.rate_rps or 0.0, rate.rate_rps)
        ]
        if shipped:
            return shipped[-1]
    return opened[-1] if opened else None


def completions(timings: Timings) -> Completions | None:
    """Completion against arrival, with the slope that ``core/steady.py`` fits to the measured.

    Arrival is the time at which a request should have been sent, so that a client's lag counts
    as the server's: it is the cautious reading, and the one that the verdict takes.

    Returns:
        None where no measured request was answered.
    """
    ok = timings.ok & np.isfinite(timings.scheduled_s)
    index = np.arange(len(timings))
    span = np.where(index < timings.first, -1, np.where(index < timings.last, 0, 1))
    measured = ok & (span == 0)
    if not measured.any():
        return None
    c, r = timings.scheduled_s[measured], timings.end_s[measured]
    slope = steady_slope(c, r)
    # a least-squares line goes through the means
    intercept = float(r.mean() - slope.value * c.mean()) if slope else math.nan
    return Completions(
        arrived_s=timings.scheduled_s[ok],
        completed_s=timings.end_s[ok],
        span=span[ok],
        unanswered=int(np.count_nonzero(span == 0)) - len(c),
        slope=slope,
        intercept_s=intercept,
    )


def in_flight(timings: Timings) -> InFlight | None:
    """How many requests were sent and had not ended, over the time of the probe.

    A request that never ended counts until the last thing that was seen. The picture ends with
    the last measured request, where all of them ended: then the probe is over, and what its tail
    still does is of no account.

    Returns:
        None where no request was sent.
    """
    part = timings.measured()
    if len(part) and np.isfinite(part.end_s).all():
        timings = timings.until(float(part.end_s.max()))
    sent = timings.sent_s[np.isfinite(timings.sent_s)]
    if not len(sent):
        return None
    end = timings.end_s[np.isfinite(timings.sent_s) & np.isfinite(timings.end_s)]
    times = np.concatenate([sent, end])
    steps = np.concatenate([np.ones(len(sent), np.int64), -np.ones(len(end), np.int64)])
    order = np.argsort(times, kind="stable")
    at, last = np.unique(times[order][::-1], return_index=True)
    count = np.cumsum(steps[order])[len(times) - 1 - last]  # after all that happens at that time
    span = _measured_span(timings)
    mean = None
    if span is not None:
        edges = np.clip(np.append(at, max(span[1], at[-1])), *span)
        mean = float(np.sum(count * np.diff(edges))) / (span[1] - span[0])
    return InFlight(at, count, span, mean)


def _measured_span(timings: Timings) -> tuple[float, float] | None:
    part = timings.measured()
    arrived = part.scheduled_s[np.isfinite(part.scheduled_s)]
    ended = part.end_s[part.ok]
    if not len(arrived) or not len(ended) or not ended.max() > arrived.min():
        return None
    return float(arrived.min()), float(ended.max())
