"""Transfer: what earlier jobs of the archive saw of a model and workload like this one.

An earlier job's rates are not this job's: its model, its traffic and its engine differ. What is
taken over is the shape of its answer, each rate as a fraction of the best one that job saw, and
only where the two are so much alike that the shape can be expected to hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optikit.core.fitness import margin, slo_penalty
from optikit.core.space import Point, PointKey, Space, key_of
from optikit.spec.model import ModelShape
from optikit.spec.record import Trial
from optikit.spec.serving import Flag
from optikit.spec.slo import Bound, Slo
from optikit.spec.space import Dimension
from optikit.spec.workload import Workload

__all__ = ["Described", "Earlier", "Hint", "alike", "starts"]

LEAST = 0.25
"""Less alike than this: nothing is taken over."""
MOST = 0.95
"""Weight of a job that is alike in everything; 1 is kept for what this job saw itself."""
JOBS = 3
BEST = 3
"""So many of a job's best configurations are taken, beside one of each other degree."""
_OTHER_SCHEME = 0.5
"""Quantized or not changes what fits and what bounds the speed: half as alike."""
_OTHER_PERCENTILE = 0.7
"""The same metrics at other percentiles."""
_BEYOND = 1.5
"""A value further outside the space than this factor has no neighbour in it."""


@dataclass(frozen=True)
class Described:
    """What decides which configurations are good: one variant of one job."""

    shape: ModelShape
    scheme: str
    """Quantization of the weights, as compressed-tensors writes it; 'none'."""
    accelerator: str | None
    """As in ``SkuFacts.accelerator``; None: a CPU."""
    engine: str
    workload: Workload
    slo: Slo


@dataclass(frozen=True)
class Earlier:
    """A variant of an earlier job, with its trials."""

    job: Described
    trials: tuple[Trial, ...]
    """Of that variant alone."""


@dataclass(frozen=True)
class Hint:
    """One configuration that an earlier job measured, in the words of this job's space."""

    point: Point
    weight: float
    """How much alike the jobs are, in [0.25, 0.95]."""
    share: float
    """Its rate per device over the best that its job saw, in [0, 1]; 0: no rate held there."""
    margin: float | None
    """log(limit / value) of the tightest bound without queueing, as its job saw it."""
    penalty: float
    """As :func:`optikit.core.fitness.slo_penalty`: 0 where a rate held, else below."""

    def fitness(self, best: float, weight: float) -> float:
        """What it would be here.

        Args:
            best: rate per device that is expected of this job's best configuration.
            weight: the job's lambda, as in :func:`optikit.core.fitness.fitness`.
        """
        return self.share * best + weight * self.penalty


def alike(mine: Described, other: Described) -> float:
    """How far the other job's good configurations are good here, from 0 (not) to 1.

    A product of parts that are 1 where a figure is equal and fall to 0 at a factor between the two:
    2 for the model's weights; 4 for the KV cache of a token, the KV heads, the mean prompt, the
    mean output and each limit of the SLO. Another quantization counts half; another accelerator or
    engine, or an SLO on other metrics: 0.
    """
    if (mine.accelerator, mine.engine) != (other.accelerator, other.engine):
        return 0.0
    here, there = mine.workload, other.workload
    parts = (
        1.0 if mine.scheme == other.scheme else _OTHER_SCHEME,
        _near(mine.shape.parameters, other.shape.parameters, 2.0),
        _near(mine.shape.kv_bytes_per_token(1), other.shape.kv_bytes_per_token(1), 4.0),
        _near(mine.shape.kv_heads, other.shape.kv_heads, 4.0),
        _near(here.prompt_tokens.mean, there.prompt_tokens.mean, 4.0),
        _near(here.output_tokens.mean, there.output_tokens.mean, 4.0),
        _slo_alike(mine.slo, other.slo),
    )
    return math.prod(parts)


def _near(one: float, two: float, far: float) -> float:
    """1 where equal, 0 where a factor of ``far`` lies between; linear in the logarithm."""
    return max(0.0, 1 - abs(math.log(one / two)) / math.log(far))


def _slo_alike(mine: Slo, other: Slo) -> float:
    here, there = _limits(mine), _limits(other)
    if {metric for metric, _ in here} != {metric for metric, _ in there}:
        return 0.0
    if here.keys() != there.keys():
        return _OTHER_PERCENTILE * min(
            max(_near(limit, there[k], 4.0) for k in there if k[0] == metric)
            for (metric, _), limit in here.items()
        )
    return math.prod(_near(limit, there[key], 4.0) for key, limit in here.items())


def _limits(slo: Slo) -> dict[tuple[str, float], float]:
    """Limit in milliseconds by metric and share of requests that keep it, in percent."""
    return {
        (limit.metric, b.percentile if isinstance(b, Bound) else b.share_percent): limit.limit_ms
        for b in slo.bounds
        for limit in b.limits
    }


def starts(mine: Described, earlier: Iterable[Earlier], space: Space) -> tuple[Hint, ...]:
    """The best and the informative few of the jobs most alike, the most alike first.

    Of each job: its best configurations, the best of each other tensor-parallel degree, and the
    worst one. A value that the space lacks becomes its nearest neighbour there; a configuration
    that has none, or that may not be started here, is left out. Jobs in which no rate held have no
    best to compare with and are left out.
    """
    weighed = [(alike(mine, one.job), one) for one in earlier]
    near = sorted((w for w in weighed if w[0] >= LEAST), key=lambda w: w[0], reverse=True)
    found: dict[PointKey, Hint] = {}
    taken = 0
    for weight, one in near:
        of_it = _of_job(one, min(weight, MOST), space)
        for hint in of_it:
            found.setdefault(key_of(hint.point), hint)
        taken += bool(of_it)
        if taken == JOBS:
            break
    return tuple(found.values())


def _of_job(earlier: Earlier, weight: float, space: Space) -> list[Hint]:
    measured = [
        trial
        for trial in earlier.trials
        if trial.state == "complete" and trial.rate and trial.rate.outcome != "inconclusive"
    ]
    best = max(map(_per_device, measured), default=0.0)
    if best <= 0:
        return []
    known: dict[PointKey, Hint] = {}
    for trial in sorted(measured, key=_per_device, reverse=True):
        point = _nearest(space.point_of(trial.serving), space)
        if point is not None and trial.rate is not None:
            hint = Hint(
                point=point,
                weight=weight,
                share=_per_device(trial) / best,
                margin=margin(trial.rate, earlier.job.slo),
                penalty=slo_penalty(trial.rate, earlier.job.slo),
            )
            known.setdefault(key_of(point), hint)
    return _few(list(known.values()))


def _few(ranked: Sequence[Hint]) -> list[Hint]:
    """Of a job's hints, best first, those worth a place."""
    chosen = list(ranked[:BEST])
    degrees = {hint.point.get("tensor_parallel") for hint in chosen}
    for hint in ranked[BEST:]:
        degree = hint.point.get("tensor_parallel")
        if degree not in degrees or hint is ranked[-1]:
            degrees.add(degree)
            chosen.append(hint)
    return chosen


def _per_device(trial: Trial) -> float:
    return (trial.rate_rps or 0.0) / trial.serving.devices


def _nearest(point: Point, space: Space) -> dict[str, Flag] | None:
    """The space's point next to one of another job; None where there is none that may be tried."""
    whole: dict[str, Flag] = {}
    for dimension in space.dimensions:
        value = point.get(dimension.name)
        near = None if value is None else _neighbour(value, dimension)
        if near is not None:
            whole[dimension.name] = near
    reduced = space.reduced(whole)
    return reduced if space.holds(reduced) and space.why_not(reduced) is None else None


def _neighbour(value: Flag, dimension: Dimension) -> Flag | None:
    if value in dimension.values:
        return value
    if not dimension.ordered or isinstance(value, bool | str):
        return None
    low, high = (float(end(dimension.values, key=float)) for end in (min, max))
    if not low / _BEYOND <= value <= high * _BEYOND:
        return None
    by_factors = dimension.log and low > 0

    def gap(other: Flag) -> float:
        return abs(math.log(float(other) / value) if by_factors else float(other) - value)

    return min(dimension.values, key=gap)
