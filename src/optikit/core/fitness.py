"""What tuning maximizes, and which trial wins.

From the talk ("Meeting SLOs, Slashing Hours", eBay), slide "Runtime tuning"::

    fitness(c) = throughput(c) / devices(c) + lambda * slo_penalty(c)

with devices = tensor_parallel x data_parallel, where the talk has the tensor-parallel size alone.

Here throughput is the certified rate in requests per second: a config that holds the SLO at no
rate has none, so its first term is 0 and only the penalty, which is never positive, is left. A
config that holds the SLO has a rate above 0 and no penalty. So for every lambda >= 0 a feasible
config ranks above every infeasible one, and lambda only spreads the infeasible ones, to tell the
sampler which of them come close.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from optikit.spec.record import Probe, RateResult, Trial
from optikit.spec.slo import Slo

__all__ = ["best", "fitness", "margin", "slo_penalty"]

LARGEST_EXCESS = 10.0
"""Bound of the penalty: 11 times the limit is as bad as anything beyond it."""


def slo_penalty(result: RateResult, slo: Slo) -> float:
    """Minus the relative excess of the worst bound, in [-10, 0]; 0 where the SLO holds.

    The excess, ``value / limit - 1``, is read at the lowest load that failed (closed loop before
    open loop, then by rate), where queueing of the search's own making is smallest. Requests that
    failed, or a percentile that nothing was measured for, count as the largest excess.
    """
    if result.outcome == "pass":
        return 0.0
    failed = sorted((p for p in result.probes if p.verdict == "fail"), key=_load)
    if not failed:
        return 0.0
    measured = failed[0].measurement
    excess = LARGEST_EXCESS if measured.completed == 0 else 0.0
    for bound in slo.percentiles:
        quantile = measured.quantile(bound.metric, bound.percentile)
        over = LARGEST_EXCESS if quantile is None else quantile.value_ms / bound.limit_ms - 1
        excess = max(excess, over)
    for seen in measured.bounds:
        if seen.bound.startswith("goodput"):
            excess = max(excess, seen.share / seen.allowed - 1)
    return -min(excess, LARGEST_EXCESS)


def fitness(
    trial_rate: RateResult, devices: int, slo: Slo, weight: float, price_per_hour: float = 1.0
) -> float:
    """Rate in requests per second and device, plus ``weight`` times the penalty.

    Args:
        trial_rate: what the rate search found.
        devices: devices that the server uses, at least 1.
        weight: the talk's lambda, in requests per second and device; at least 0.
        price_per_hour: of one device; the rate is then one per unit of money an hour.
    """
    rate = trial_rate.rate_rps if trial_rate.outcome == "pass" else None
    return (rate or 0.0) / devices / price_per_hour + weight * slo_penalty(trial_rate, slo)


def margin(result: RateResult, slo: Slo) -> float | None:
    """log(limit / value) of the tightest latency bound without queueing (concurrency 1).

    None where it was not measured, or where the SLO bounds no percentile.
    """
    closed = next((p for p in result.probes if p.phase == "closed"), None)
    if closed is None or closed.measurement.completed == 0:
        return None
    found = [
        math.log(bound.limit_ms / quantile.value_ms)
        for bound in slo.percentiles
        if (quantile := closed.measurement.quantile(bound.metric, bound.percentile)) is not None
        and quantile.value_ms > 0
    ]
    return min(found, default=None)


def best(trials: Iterable[Trial]) -> Trial | None:
    """The trial that holds the SLO at the highest rate per device; None where none does.

    Ties go to fewer devices, then to the earlier trial.
    """
    feasible = [trial for trial in trials if trial.rate_rps is not None]
    return max(feasible, key=_rank, default=None)  # of equals, max keeps the first


def _rank(trial: Trial) -> tuple[float, int]:
    devices = trial.serving.devices
    return (trial.rate_rps or 0.0) / devices, -devices


def _load(probe: Probe) -> tuple[bool, float]:
    return probe.phase == "open", probe.rate_rps or float(probe.concurrency or 0)
