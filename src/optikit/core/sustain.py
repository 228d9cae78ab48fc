"""Open probes -> the highest rate that holds the SLO, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from optikit.core.evidence import excess
from optikit.core.load import Load
from optikit.core.loadmodel import LoadModel, Seen, fit_load_model
from optikit.core.metrics import evidence_of, share_interval
from optikit.core.timings import Timings
from optikit.spec.record import BoundEvidence
from optikit.spec.slo import Bound, Goodput, Slo
from optikit.spec.workload import Trace, Workload

__all__ = ["OpenProbe", "Sustained", "judge_shares", "sustained_rate"]

NEAR = 1.7
"""Probes at rates further away than this factor do not enter a fit."""
REACH = 1.35
"""No rate is believed that lies further than this factor outside the rates that were probed."""
_FEWEST_OVER = 8
"""Fewer requests over (or within) a limit are too few to fit a response to."""
TELLING = 2.0
"""Distance of logit(share over) from what is allowed up to which a probe tells of the limit."""
_LEAST_SLOPE = 2.0
"""Of logit(share over) on log(rate): what is flatter gives no root."""


@dataclass(frozen=True)
class OpenProbe:
    """One whole open-loop probe."""

    rate_rps: float
    load: Load
    timings: Timings
    mean_e2e_s: float


@dataclass(frozen=True)
class Sustained:
    """The sustainable rate as far as it is known."""

    rate_rps: float
    error: float
    """Standard error of log(rate)."""
    bound: str
    """What binds."""
    bracketed: bool
    """False: the rate lies outside of what was probed, and is the edge of what is believed."""


def _near(probes: Sequence[OpenProbe], rate_rps: float) -> list[OpenProbe]:
    return [p for p in probes if rate_rps / NEAR <= p.rate_rps <= rate_rps * NEAR]


def _seen(probes: Sequence[OpenProbe], bound: Bound | Goodput) -> list[Seen]:
    return [Seen(p.load, excess(p.timings.measured(), bound), p.rate_rps) for p in probes]


def _informative(seen: Sequence[Seen]) -> bool:
    """Enough requests on both sides of the limit."""
    over = sum(float(np.count_nonzero(s.excess.over)) for s in seen)
    counted = sum(float(np.count_nonzero(s.excess.units)) for s in seen)
    return min(over, counted - over) >= _FEWEST_OVER


def _telling(seen: list[Seen], bound: Bound | Goodput) -> list[Seen]:
    """Without probes whose share is far from what is allowed, where others are near to it.

    A response that is fitted to a deep backlog as well fits the neighbourhood of the limit less.
    """
    goal = float(logit(bound.allowed))

    def far(one: Seen) -> float:
        units, over = float(one.excess.units.sum()), float(one.excess.over.sum())
        return abs(float(logit((over + 0.5) / (units + 1))) - goal)

    near = [one for one in seen if far(one) <= TELLING]
    return near if near and _informative(near) else seen


def _model(
    probes: Sequence[OpenProbe],
    bound: Bound | Goodput,
    workload: Workload,
    rate_rps: float,
    trace: Trace | None,
) -> LoadModel | None:
    seen = _telling(_seen(probes, bound), bound)
    if not seen or not _informative(seen):
        return None
    closest = min(probes, key=lambda p: abs(math.log(p.rate_rps / rate_rps)))
    return fit_load_model(seen, workload, closest.mean_e2e_s, trace)


def sustained_rate(
    probes: Sequence[OpenProbe],
    slo: Slo,
    workload: Workload,
    guess_rps: float,
    trace: Trace | None = None,
) -> Sustained | None:
    """The highest rate at which every bound holds in the long run.

    Args:
        guess_rps: rates near it are used.

    Returns:
        None without a probe near the guess.
    """
    near = _near(probes, guess_rps)
    if not near:
        return None
    rates = [p.rate_rps for p in near]
    low, high = min(rates) / REACH, max(rates) * REACH
    found = [_root(near, bound, workload, guess_rps, low, high, trace) for bound in slo.bounds]
    return min(found, key=lambda s: s.rate_rps, default=Sustained(high, 0.1, "none", False))


def _root(
    near: Sequence[OpenProbe],
    bound: Bound | Goodput,
    workload: Workload,
    guess_rps: float,
    low: float,
    high: float,
    trace: Trace | None,
) -> Sustained:
    """Where one bound's share over the limit crosses what is allowed."""
    model = _model(near, bound, workload, guess_rps, trace)
    if model is None:
        over = sum(float(s.excess.over.sum()) for s in _seen(near, bound))
        units = sum(float(s.excess.units.sum()) for s in _seen(near, bound))
        holds = over <= bound.allowed * units
        return Sustained(high if holds else low, 0.1, str(bound), False)
    crossing = model.root(bound.allowed, low, high)
    if crossing is None:
        middle = model.share(math.sqrt(low * high)).value
        return Sustained(low if middle > bound.allowed else high, 0.1, str(bound), False)
    root, slope = crossing
    error = model.share(root).error / max(slope, _LEAST_SLOPE)
    return Sustained(root, min(error, 1.0), str(bound), True)


def judge_shares(
    probes: Sequence[OpenProbe],
    slo: Slo,
    workload: Workload,
    rate_rps: float,
    z: float,
    trace: Trace | None = None,
    *,
    own: bool = False,
) -> list[BoundEvidence]:
    """Every bound's share over the limit at a rate, with an interval of ``z`` standard errors.

    From the fitted response where requests on both sides of the limit were seen; else from the
    requests at this rate and above, where more would be over the limit than here.

    Args:
        own: the requests at this very rate may settle it by themselves: where the rate was chosen
            well below the estimate, they only have to agree.
    """
    near = _near(probes, rate_rps)
    return [_judge(near, bound, workload, rate_rps, z, trace, own) for bound in slo.bounds]


def _judge(
    near: Sequence[OpenProbe],
    bound: Bound | Goodput,
    workload: Workload,
    rate_rps: float,
    z: float,
    trace: Trace | None,
    own: bool,
) -> BoundEvidence:
    above = [p for p in near if p.rate_rps >= rate_rps * 0.999]
    raws = [(p.rate_rps, evidence_of(bound, excess(p.timings.measured(), bound))) for p in above]
    seen = _pooled(bound, [raw for _, raw in raws])
    if seen.high <= bound.allowed:  # plain counts settle it; a fit has little to go by there
        return seen
    model = _model(near, bound, workload, rate_rps, trace)
    alone = _pooled(bound, [raw for rate, raw in raws if rate <= rate_rps * 1.001])
    settles = own and alone.high <= bound.allowed
    if model is None:
        return alone if settles else seen
    here = [raw for rate, raw in raws if rate <= rate_rps * 1.001]
    share = model.share(rate_rps)
    low, high = share.bounds(z)
    if settles and low <= bound.allowed:  # they overrule a fit that cannot tell, never a sure one
        return alone
    return BoundEvidence(
        bound=str(bound),
        allowed=bound.allowed,
        counted=sum(raw.counted for raw in here),
        over=sum(raw.over for raw in here),
        share=share.value,
        low=low,
        high=high,
        effective=1 / max(share.error**2 * share.value * (1 - share.value), 1e-9),
        adjusted=True,
    )


def _pooled(bound: Bound | Goodput, raws: Sequence[BoundEvidence]) -> BoundEvidence:
    """Several probes' counts as one."""
    counted, over = sum(raw.counted for raw in raws), sum(raw.over for raw in raws)
    worth = sum(raw.effective for raw in raws)
    share = over / counted if counted else 1.0
    low, high = share_interval(share, worth) if counted else (0.0, 1.0)
    return BoundEvidence(
        bound=str(bound),
        allowed=bound.allowed,
        counted=counted,
        over=over,
        share=share,
        low=low,
        high=high,
        effective=worth,
    )
