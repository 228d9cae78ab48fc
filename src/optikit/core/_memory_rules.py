"""Random rules of what needs too much memory, and how trials weigh them.

A rule is a need and a limit; it forbids the points whose need is above the limit. The need is a
sum of one to three products of flags, or what several flags have in common (a corner)::

    log sum_m exp(c_m + sum_j p_mj x_j)      or      min_m (c_m + p_m x_m)

with x the centred logarithms of the flags, and random coefficients c, exponents p and limit. The
weights are those of a particle filter: where few rules are left they are drawn anew and moved by
Metropolis's rule (Chopin, "A sequential particle filter method for static models", Biometrika 89,
2002), which keeps their distribution that of Bayes' rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optikit.core.space import Point
from optikit.spec.serving import Flag
from optikit.spec.space import Dimension

__all__ = ["SIGNS", "MemoryRules", "Population", "chosen"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

_SHARE = "gpu_memory_utilization"
SIGNS = {
    "tensor_parallel": -1,
    "max_num_seqs": 1,
    "max_num_batched_tokens": 1,
    "max_model_len": 1,
    "speculative_ngram": 1,
    _SHARE: 1,
}
"""Of the need for memory in a flag; other flags with an order may have either."""
_TURNED = 0.25
"""Of rules in which a larger share of the memory helps: it has to hold the KV cache."""
_CORNERS = 0.4
_KNOWN, _UNKNOWN = 0.5, 0.08
"""How often a product has a flag whose sign is known, or is not."""
_TERMS = 3
_EXPONENTS = (0.5, 1.0, 1.0, 2.0)
_SPREAD = 1.5
"""Standard deviation of the c."""
_LEAST, _MOST = 0.02, 0.6
"""Share of the space that a rule forbids at first; drawn by equal factors."""
_DRAWS, _REFERENCE = 8000, 256
_KEPT = 1000
_FEWEST = 150
"""Effective number of rules below which they are drawn anew."""
_MOVES = 8
_STEP, _LIMIT_STEP = 0.5, 0.3
_CHUNK = 2_000_000


@dataclass(frozen=True)
class _Rules:
    """Arrays over rules; exponents ``(rules, terms, flags)``, offsets ``(rules, terms)``."""

    exponents: Floats
    offsets: Floats
    """Infinite where a rule lacks the term."""
    limits: Floats
    corner: Bools
    signs: Floats
    """``(rules, flags)``"""

    def __len__(self) -> int:
        return len(self.limits)

    def take(self, places: Indices) -> _Rules:
        return _Rules(
            self.exponents[places],
            self.offsets[places],
            self.limits[places],
            self.corner[places],
            self.signs[places],
        )

    def needs(self, at: Floats) -> Floats:
        """Shape ``(rules, points)`` from coordinates ``(flags, points)``."""
        terms = self.exponents @ at + self.offsets[:, :, None]
        found = np.empty((len(self), at.shape[1]))
        found[self.corner] = terms[self.corner].min(axis=1)
        sums = terms[~self.corner]
        top = sums.max(axis=1)
        found[~self.corner] = top + np.log(np.exp(sums - top[:, None, :]).sum(axis=1))
        return found

    def forbid(self, at: Floats) -> Bools:
        """Shape ``(rules, points)``."""
        found = np.empty((len(self), at.shape[1]), dtype=bool)
        step = max(1, _CHUNK // max(1, len(self)))
        for first in range(0, at.shape[1], step):
            part = slice(first, first + step)
            found[:, part] = self.needs(at[:, part]) > self.limits[:, None]
        return found


class MemoryRules:
    """The rules before any trial, over the flags of a space that have an order."""

    def __init__(self, dimensions: Sequence[Dimension], seed: int) -> None:
        self._dimensions = [d for d in dimensions if d.ordered and len(d.values) > 1]
        self._places = [_places(d) for d in self._dimensions]
        names = [d.name for d in self._dimensions]
        self._likely = np.array([_KNOWN if name in SIGNS else _UNKNOWN for name in names])
        self._scales = np.array([1 / np.std(list(p.values())) for p in self._places])
        chance = np.random.default_rng((seed, 0))
        count = _DRAWS if names else 0
        signs = np.array([float(SIGNS.get(name, 0)) for name in names])
        signs = np.where(signs, signs, chance.choice([-1.0, 1.0], size=(count, len(names))))
        turned = (chance.random((count, 1)) < _TURNED) & (np.array(names) == _SHARE)
        signs = np.where(turned, -signs, signs)
        corner = chance.random(count) < _CORNERS
        exponents = self._exponents(chance, np.repeat(corner[:, None], _TERMS, axis=1))
        absent = np.arange(_TERMS) >= chance.integers(1, _TERMS + 1, size=count)[:, None]
        nothing = np.where(corner, np.inf, -np.inf)[:, None]
        offsets = np.where(absent, nothing, chance.normal(0, _SPREAD, size=(count, _TERMS)))
        free = _Rules(exponents * signs[:, None], offsets, np.zeros(count), corner, signs)
        limits = self._limits(free, chance) if count else free.limits
        self.rules = _Rules(free.exponents, free.offsets, limits, corner, signs)

    def at(self, points: Sequence[Point]) -> Floats:
        """Coordinates, shape ``(flags, points)``; of a flag that a point lacks its middle."""
        found = np.zeros((len(self._dimensions), len(points)))
        for row, (dimension, places) in enumerate(zip(self._dimensions, self._places, strict=True)):
            for column, point in enumerate(points):
                found[row, column] = places.get(point.get(dimension.name, ""), 0.0)
        return found

    def harder(self, points: Sequence[Point], failed: Sequence[Point]) -> Bools:
        """Which points need at least as much as one of those that failed, whatever the rule.

        Flags of an unknown sign must be equal.
        """
        found = np.zeros(len(points), dtype=bool)
        if not points:
            return found
        signs = np.array([SIGNS.get(d.name, 0) for d in self._dimensions])
        known, places = signs != 0, self.at(points)
        need = signs[known, None] * places[known]
        for one in failed:
            at = self.at([one])
            more = need >= signs[known, None] * at[known]
            found |= more.all(axis=0) & (places[~known] == at[~known]).all(axis=0)
        return found

    def _exponents(self, chance: np.random.Generator, corner: Bools) -> Floats:
        """Without signs; terms that ``corner`` marks have one flag."""
        shape = (*corner.shape, len(self._likely))
        if not shape[-1]:
            return np.zeros(shape)
        found = chance.choice(_EXPONENTS, size=shape) * (chance.random(shape) < self._likely)
        flag = chance.choice(shape[-1], size=corner.shape, p=self._likely / self._likely.sum())
        single = np.eye(shape[-1])[flag] * self._scales
        return np.where(corner[..., None], single, found)

    def _limits(self, rules: _Rules, chance: np.random.Generator) -> Floats:
        drawn = np.stack([chance.choice(list(p.values()), size=_REFERENCE) for p in self._places])
        needs = np.sort(rules.needs(drawn), axis=1)
        shares = _LEAST * (_MOST / _LEAST) ** chance.random(len(rules))
        at = np.clip(((1 - shares) * _REFERENCE).astype(int), 1, _REFERENCE - 1)
        rows = np.arange(len(rules))
        below, above = needs[rows, at - 1], needs[rows, at]
        found: Floats = below + (above - below) * chance.random(len(rules))
        return found

    def proposed(self, rules: _Rules, chance: np.random.Generator) -> tuple[_Rules, Floats]:
        """Other rules near these, and the log of how much likelier they were before any trial.

        Coefficients and limits move by normal steps; in every second rule one term's exponents are
        drawn anew as at first, which leaves their own prior out of the ratio.
        """
        count = len(rules)
        term = chance.integers(0, _TERMS, size=count)
        anew = np.where(chance.random(count) < 0.5, term, -1)[:, None] == np.arange(_TERMS)
        drawn = self._exponents(chance, np.repeat(rules.corner[:, None], _TERMS, axis=1))
        exponents = np.where(anew[..., None], drawn * rules.signs[:, None], rules.exponents)
        offsets = rules.offsets + chance.normal(0, _STEP, size=rules.offsets.shape)
        limits = rules.limits + chance.normal(0, _LIMIT_STEP, size=count)
        present = np.isfinite(offsets)
        before = np.where(present, rules.offsets, 0.0)
        after = np.where(present, offsets, 0.0)
        ratio: Floats = ((before**2 - after**2) / (2 * _SPREAD**2)).sum(axis=1)
        return _Rules(exponents, offsets, limits, rules.corner, rules.signs), ratio


class Population:
    """The rules as trials about one cause weigh them.

    Args:
        log_share: log weight of all rules together.
        flaky: how often a trial goes against its rule.
    """

    def __init__(self, prior: MemoryRules, log_share: float, flaky: float, seed: int) -> None:
        self._prior, self.rules = prior, prior.rules
        count = max(1, len(self.rules))
        self.log_weights = np.full(len(self.rules), log_share - np.log(count))
        self._usual, self._odd = float(np.log(1 - flaky)), float(np.log(flaky))
        self._chance = np.random.default_rng((seed, 1))
        self._at = np.zeros((len(self.rules.signs[0]) if len(self.rules) else 0, 0))
        self._failed = np.zeros(0, dtype=bool)

    def learn(self, at: Floats, failed: Bools) -> None:
        """Trials at coordinates ``(flags, n)`` that failed for the cause, or ran."""
        if not len(self.rules) or not len(failed) or not np.isfinite(self.log_weights).any():
            return
        self.log_weights = self.log_weights + self._likelihood(self.rules, at, failed)
        self._at = np.concatenate([self._at, at], axis=1)
        self._failed = np.concatenate([self._failed, failed])
        weights = np.exp(self.log_weights - self.log_weights.max())
        if weights.sum() ** 2 < _FEWEST * (weights**2).sum():
            self._renew(weights)

    def _likelihood(self, rules: _Rules, at: Floats, failed: Bools) -> Floats:
        right = (rules.forbid(at) == failed).sum(axis=1)
        found: Floats = right * self._usual + (len(failed) - right) * self._odd
        return found

    def _renew(self, weights: Floats) -> None:
        log_total = self.log_weights.max() + np.log(weights.sum())
        rules = self.rules.take(chosen(weights, _KEPT, self._chance.random()))
        known = self._likelihood(rules, self._at, self._failed)
        for _ in range(_MOVES):
            others, ratio = self._prior.proposed(rules, self._chance)
            found = self._likelihood(others, self._at, self._failed)
            taken = np.log(self._chance.random(_KEPT)) < found - known + ratio
            known = np.where(taken, found, known)
            rules = _Rules(
                np.where(taken[:, None, None], others.exponents, rules.exponents),
                np.where(taken[:, None], others.offsets, rules.offsets),
                np.where(taken, others.limits, rules.limits),
                rules.corner,
                rules.signs,
            )
        self.rules = rules
        self.log_weights = np.full(_KEPT, log_total - np.log(_KEPT))


def chosen(weights: Floats, count: int, start: float) -> Indices:
    """``count`` places by their weight: systematic resampling."""
    sums = np.cumsum(weights)
    found: Indices = np.searchsorted(sums, (np.arange(count) + start) / count * sums[-1])
    return np.minimum(found, len(weights) - 1)


def _places(dimension: Dimension) -> dict[Flag, float]:
    """Natural logarithm of each value, with mean 0 over the dimension.

    Of a share of the memory that of what is left beside it; of values that reach 0, their size in
    steps of a doubling.
    """
    numbers = np.array([float(value) for value in dimension.values])
    if dimension.name == _SHARE:
        found = -np.log(np.maximum(1.02 - numbers, 0.01))
    elif numbers.min() > 0:
        found = np.log(numbers)
    else:
        found = np.log(2) * (numbers - numbers.min()) / (np.ptp(numbers) / (len(numbers) - 1))
    return dict(zip(dimension.values, (found - found.mean()).tolist(), strict=True))
