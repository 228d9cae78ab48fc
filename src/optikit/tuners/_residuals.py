"""The model behind ``gp_prior``: where the predictions are wrong, and which point to try next.

One process models log(measured / predicted) of the rate per device, another what is measured of
the margin beyond the prediction. The next point has the largest expected improvement, times the
probability that it holds the SLO and starts at all, over a power of its predicted device-seconds
(constrained expected improvement: Gardner et al., ICML 2014; per cost: Snoek et al., NIPS 2012).
Points that run meanwhile count as if they had come out as expected (the kriging believer:
Ginsbourger et al., 2010).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from optikit.core.gaussian import (
    GaussianProcess,
    Kernel,
    fit_gaussian,
    log_expected_improvement,
)
from optikit.core.predict import Prediction
from optikit.core.space import Point, PointKey, Space, key_of
from optikit.tuners.base import Outcome, Prior

__all__ = ["Fact", "ResidualModel"]

Array = NDArray[np.float64]

COST_POWER, FIRST_COST_POWER = 0.5, 0.1
"""Of the device-seconds: 1 would prefer many cheap trials that teach little. The second: while no
configuration is known to hold a rate."""
_RATE_SD, _RATE_LEVEL = 0.2, 0.4
_MARGIN_SD, _MARGIN_LEVEL = 0.15, 0.2
"""How wrong the logarithms of predictions usually are, before anything was measured: each by
itself, and all alike."""
_LENGTH, _DEGREE_LENGTH = 0.7, 0.2
"""How far predictions are wrong alike, over the width of a dimension; the second: over degrees of
parallelism, which differ in what bounds them."""
_DEGREES = ("tensor_parallel", "data_parallel")
_RATE_NOISE, _MARGIN_NOISE = 0.05, 0.03
"""Of a measured log(rate) and of a measured margin."""
_BOUND_NOISE, _UNMEASURED_NOISE = 0.15, 0.2
"""Of a rate that is only known from above, and of a margin that is only known to be missed."""
_STEEP, _STEEP_WITHIN = 0.3, 0.1
"""Near the limit the rate falls steeply: an error of the margin is a far larger one of the rate."""
_MOST_MARGIN = 3.0
_MISSED = -0.05
"""Margin of a configuration that holds no rate although none was measured below the limit."""
_RUN_LENGTH = 0.3
"""A start that failed speaks against others so far away, over the width of a dimension."""


@dataclass(frozen=True)
class Fact:
    """One result, and how much is to be made of it."""

    point: Point
    outcome: Outcome
    doubt: float = 0.0
    """Standard deviation added to its figures."""

    @property
    def value(self) -> float:
        """log of what is maximized, or of its upper bound; -inf where no rate holds."""
        found = self.outcome.fitness
        if found is None or found <= 0:
            found = self.outcome.rate_per_device
        return math.log(found) if found is not None and 0 < found < math.inf else -math.inf

    @property
    def holds(self) -> bool:
        """Whether a rate was measured at which the SLO holds."""
        return self.outcome.state == "complete" and math.isfinite(self.value)


class ResidualModel:
    """Says of each candidate how much it promises; see the module."""

    def __init__(self, space: Space, prior: Prior) -> None:
        self._space, self._prior = space, prior
        self._features: dict[PointKey, Array] = {}
        self._lengths = tuple(
            _DEGREE_LENGTH if dimension.name in _DEGREES else _LENGTH
            for dimension in space.dimensions
            for _ in (dimension.values if not dimension.ordered else (None,))
        )

    def scores(
        self, candidates: Sequence[Point], facts: Sequence[Fact], running: Sequence[Point]
    ) -> Array:
        """log of the acquisition, shape ``(n,)`` for ``n`` candidates.

        Args:
            facts: results; of the failed ones only that they failed is used.
            running: points whose result is not known yet.
        """
        ran = [fact for fact in facts if fact.outcome.state != "failed"]
        points = [*candidates, *(fact.point for fact in ran), *running]
        expected = [self._prior.predict(point) for point in points]
        places = np.array([self._place(point) for point in points])
        rates = _log_rates(points, expected)
        margins = np.array([min(max(e.margin, -_MOST_MARGIN), _MOST_MARGIN) for e in expected])
        n, m = len(candidates), len(candidates) + len(ran)
        usual = Kernel(_MARGIN_SD, self._lengths, _MARGIN_LEVEL)
        beyond, beyond_sd = _margin_process(places[n:m], margins[n:m], ran, usual).at(places[:n])
        score = log_ndtr((beyond + margins[:n]) / np.hypot(beyond_sd, _MARGIN_NOISE))
        usual = Kernel(_RATE_SD, self._lengths, _RATE_LEVEL)
        process = _rate_process(places[n:m], rates[n:m], margins[n:m], ran, usual)
        holding = [fact.holds for fact in ran] + [e.rate_rps > 0 for e in expected[m:]]
        process = _believing(process, places[m:])
        mean, sd = process.at(places)
        mean = mean + rates
        seconds = [
            one.trial_s * self._space.serving(point).devices
            for point, one in zip(candidates, expected[:n], strict=True)
        ]
        if any(holding):
            best = float(mean[n:][np.array(holding)].max())
            score += log_expected_improvement(mean[:n], sd[:n], best)
            power = COST_POWER
        else:
            score += mean[:n]
            power = FIRST_COST_POWER
        score -= power * np.log(np.maximum(seconds, 1.0))
        found: Array = score + self._log_starts(places[:n], places[n:m], facts)
        return found

    def _log_starts(self, places: Array, ran: Array, facts: Sequence[Fact]) -> Array:
        """log of the share of starts near by that did not fail."""
        failed = [
            self._place(fact.point)
            for fact in facts
            if fact.outcome.state == "failed" and fact.outcome.cause != "avoided"
        ]
        if not failed:
            return np.zeros(len(places))
        near = Kernel(1.0, (_RUN_LENGTH,) * places.shape[1])
        good = 1.0 + near.between(places, ran).sum(axis=1)
        bad = near.between(places, np.array(failed)).sum(axis=1)
        found: Array = np.log(good / (good + bad))
        return found

    def _place(self, point: Point) -> Array:
        key = key_of(point)
        if key not in self._features:
            self._features[key] = self._space.features(point)
        return self._features[key]


def _log_rates(points: Sequence[Point], expected: Sequence[Prediction]) -> Array:
    """log of the predicted rate per device; where none holds, the lowest that holds at that
    tensor-parallel degree: should it hold after all, it will not be by much."""
    lowest: dict[object, float] = {}
    for point, one in zip(points, expected, strict=True):
        if one.rate_per_device > 0:
            rate = math.log(one.rate_per_device)
            for key in (point.get("tensor_parallel"), "any"):
                lowest[key] = min(lowest.get(key, math.inf), rate)
    other = lowest.get("any", 0.0)
    return np.array(
        [
            math.log(one.rate_per_device)
            if one.rate_per_device > 0
            else lowest.get(point.get("tensor_parallel"), other)
            for point, one in zip(points, expected, strict=True)
        ]
    )


def _margin_process(
    places: Array, margins: Array, ran: Sequence[Fact], usual: Kernel
) -> GaussianProcess:
    """Of the measured margin beyond the predicted one."""
    rows, values, noise = [], [], []
    for row, fact in enumerate(ran):
        measured, sd = fact.outcome.margin, _MARGIN_NOISE
        missed = fact.outcome.state == "complete" and not fact.holds
        if measured is None:
            sd = _UNMEASURED_NOISE
            if missed:
                measured = min(_MISSED, float(margins[row]))
            elif fact.holds and margins[row] < 0:
                measured = -_MISSED
            else:
                continue
        measured = min(max(measured, -_MOST_MARGIN), _MISSED if missed else _MOST_MARGIN)
        rows.append(row)
        values.append(measured - margins[row])
        noise.append(sd + fact.doubt)
    return fit_gaussian(places[rows], np.array(values), np.array(noise), usual)


def _rate_process(
    places: Array, rates: Array, margins: Array, ran: Sequence[Fact], usual: Kernel
) -> GaussianProcess:
    """Of log(measured / predicted) of the rate; bounds from above count where they are below what
    the measured rates let expect."""
    rows = [row for row, fact in enumerate(ran) if fact.holds]
    values = [ran[row].value - rates[row] for row in rows]
    steep = _STEEP * np.exp(-np.maximum(margins, 0.0) / _STEEP_WITHIN)
    noise = [math.hypot(_RATE_NOISE, float(steep[row]), ran[row].doubt) for row in rows]
    found = fit_gaussian(places[rows], np.array(values), np.array(noise), usual)
    bounded = [
        row
        for row, fact in enumerate(ran)
        if fact.outcome.state == "pruned" and math.isfinite(fact.value)
    ]
    if bounded:
        mean, _ = found.at(places[bounded])
        low = [r for r, mu in zip(bounded, mean, strict=True) if ran[r].value < rates[r] + mu]
        if low:
            values += [ran[row].value - rates[row] for row in low]
            noise += [_BOUND_NOISE + ran[row].doubt for row in low]
            found = fit_gaussian(places[rows + low], np.array(values), np.array(noise), usual)
    return found


def _believing(process: GaussianProcess, places: Array) -> GaussianProcess:
    """The process with what it expects at some places taken for measured."""
    if len(places) == 0:
        return process
    mean, _ = process.at(places)
    return process.with_more(places, mean, np.full(len(places), _RATE_NOISE))
