"""Which configurations will not start, learnt from those that did and did not.

A cause of failure follows a rule that nobody knows. Many rules are drawn beforehand and weighed by
what the trials showed (Bayes' rule):

* *memory*: sums of products of flags above a limit, with signs that are known: more seats and more
  tokens a step never help, more devices do (core/_memory_rules.py);
* *value*: every configuration with one certain value fails, or with a certain pair of values;
* *luck*: any start may fail, now and then. It explains a few failures and forbids to learn much
  from one alone.

Rules about a cause are weighed by the trials that ran and those that failed for that cause; a trial
that failed for another one says nothing. SCOOT (arXiv 2408.04323) takes a random forest, which
knows neither signs nor single values; benchmarks/failure_learning.py has both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from optikit.core._memory_rules import SIGNS, MemoryRules, Population, chosen
from optikit.core.space import Point, Space
from optikit.spec.serving import Flag
from optikit.spec.space import Dimension

__all__ = ["FailureModel"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SHARES = {
    "out of memory": (0.80, 0.10),
    "no kernel": (0.00, 0.85),
    "illegal flag": (0.00, 0.85),
    "timeout": (0.35, 0.35),
    "crash": (0.25, 0.45),
}
"""Weight of memory rules and of value rules before any trial, by cause; the rest is luck."""
_PAIRS = 0.4
"""Share of the value rules' weight that pairs have."""
_GRADUAL = 0.1
"""How likely a single value of a flag that measures an amount is at fault, against other flags."""
_FLAKY = 0.02
"""How often a trial goes against its rule."""
_AVOID, _RELAX, _MOST_SURE = 0.64, 0.04, 0.98
"""A point is avoided from a probability of .64 on, which rises by .04 a success and falls back with
a failure: a search that meets no failures is too careful. The best points lie at the border, and a
failed start costs less than a measured trial. After nine successes only those stay avoided
that have a value at fault or need at least as much memory as one that failed; not those that nobody
came near."""
_LOOK = 8
"""After as many trials that ran, one start may go against all but a value that is surely at fault:
nothing is ruled out for ever by a border that was drawn too straight. A look that fails costs one
start in eight."""
_FEWEST = 2
"""Failures of a cause before anything is avoided for it."""
_JUDGES = 400
"""Memory rules that are asked about a point, drawn by their weight."""


@dataclass
class _Cause:
    """What trials said about one cause."""

    memory: Population
    log_values: Floats
    log_luck: float
    failed: list[Point] = field(default_factory=list)


@dataclass
class FailureModel:
    """Learns from trials; the same trials in the same order, the same answers.

    Args:
        space: where the points lie.
        seed: of the rules that are drawn.
    """

    space: Space
    seed: int = 0
    _causes: dict[str, _Cause] = field(default_factory=dict, init=False)
    _ran: list[Point] = field(default_factory=list, init=False)
    _row: int = field(default=0, init=False)
    """Successes since the last failure."""

    def __post_init__(self) -> None:
        self._values = _ValueRules(self.space.dimensions)
        self._memory = MemoryRules(self.space.dimensions, self.seed)

    def learn(self, point: Point, cause: str | None) -> None:
        """A trial of the point ran (None), or failed for a cause."""
        if cause is not None and cause not in self._causes:
            self._causes[cause] = self._fresh(cause)
        for name, about in self._causes.items():
            if cause in (None, name):
                self._weigh(about, [point], failed=cause is not None)
        self._row = self._row + 1 if cause is None else 0
        if cause is None:
            self._ran.append(point)
        else:
            self._causes[cause].failed.append(point)

    def _fresh(self, cause: str) -> _Cause:
        """Weights before any failure of this cause: what the trials that ran say."""
        memory, values = _SHARES.get(cause, _SHARES["crash"])
        log_share = float(np.log(memory)) if memory else -np.inf
        population = Population(self._memory, log_share, _FLAKY, self.seed)
        log_values: Floats = np.log(values * self._values.weights)
        found = _Cause(population, log_values, float(np.log(1 - memory - values)))
        self._weigh(found, self._ran, failed=False)
        return found

    def _weigh(self, about: _Cause, points: Sequence[Point], *, failed: bool) -> None:
        if not points:
            return
        about.memory.learn(self._memory.at(points), np.full(len(points), failed))
        usual, odd = float(np.log(1 - _FLAKY)), float(np.log(_FLAKY))
        right: Bools = self._values.forbid(points) == failed
        about.log_values = about.log_values + np.where(right, usual, odd).sum(axis=1)
        about.log_luck += len(points) * (odd if failed else usual)

    def probability(self, point: Point) -> float:
        """That a start of the point fails for a reason that trials showed."""
        return float(self.probabilities([point])[0])

    def probabilities(self, points: Sequence[Point]) -> Floats:
        """The same of many points at once, shape ``(n,)``."""
        starts = np.ones(len(points))
        for about in self._causes.values():
            memory, values = self._fails(about, points)
            starts *= np.maximum(0.0, 1 - memory - values)
        return 1 - starts

    def avoid(self, point: Point) -> bool:
        """Whether the point is not worth a start."""
        return bool(self.avoided([point])[0])

    def avoided(self, points: Sequence[Point]) -> Bools:
        """The same of many points at once, shape ``(n,)``."""
        found = np.zeros(len(points), dtype=bool)
        limit = _AVOID + _RELAX * self._row
        look = self._row > 0 and len(self._ran) % _LOOK == 0
        for about in self._causes.values():
            if len(about.failed) >= _FEWEST:
                memory, values = self._fails(about, points)
                sure = memory + values >= min(limit, _MOST_SURE)
                if look:
                    sure &= values >= _MOST_SURE
                elif limit > _MOST_SURE:
                    sure &= (values > memory) | self._memory.harder(points, about.failed)
                found |= sure
        return found

    def _fails(self, about: _Cause, points: Sequence[Point]) -> tuple[Floats, Floats]:
        """Probability of a failure by memory rules, and by value rules."""
        logs = np.concatenate([about.memory.log_weights, about.log_values, [about.log_luck]])
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        of_memory, of_values = np.split(weights[:-1], [len(about.memory.log_weights)])
        by_memory, by_values = np.zeros(len(points)), of_values @ self._values.forbid(points)
        if of_memory.sum() > 0:
            judges = about.memory.rules.take(chosen(of_memory, _JUDGES, 0.5))
            forbidden = judges.forbid(self._memory.at(points))
            by_memory = of_memory.sum() * forbidden.mean(axis=0)
        return by_memory, by_values


class _ValueRules:
    """One rule a value, one a pair of values of different dimensions."""

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        single: list[tuple[tuple[str, Flag], ...]] = [
            ((d.name, value),) for d in dimensions if len(d.values) > 1 for value in d.values
        ]
        pairs = [a + b for a, b in combinations(single, 2) if a[0][0] != b[0][0]]
        self._rules = single + pairs
        weights = np.array(
            [np.prod([_GRADUAL if name in SIGNS else 1.0 for name, _ in r]) for r in self._rules]
        )
        for part, share in ((slice(len(single)), 1 - _PAIRS), (slice(len(single), None), _PAIRS)):
            weights[part] *= share / max(1e-9, float(weights[part].sum()))
        self.weights: Floats = weights / max(1e-9, float(weights.sum()))

    def forbid(self, points: Sequence[Point]) -> Bools:
        """Which rule forbids which point, shape ``(rules, points)``."""
        found = np.ones((len(self._rules), len(points)), dtype=bool)
        has: dict[tuple[str, Flag], Bools] = {}
        for number, rule in enumerate(self._rules):
            for part in rule:
                if part not in has:
                    name, value = part
                    has[part] = np.array([point.get(name) == value for point in points], bool)
                found[number] &= has[part]
        return found
