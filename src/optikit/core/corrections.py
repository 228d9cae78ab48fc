"""What the trials seen say about predictions: by how much they are off, all in all and at each
tensor-parallel degree.

Everything here is one linear model with a normal prior on its coefficients ("no correction"), so
a few trials move it a little and many move it as far as they agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from optikit.core.steptimes import StepTimes
from optikit.spec.workload import Workload

__all__ = ["Line", "StepFact", "StepFactors", "fit_line", "fit_step_factors", "ridge"]

Vector = NDArray[np.float64]

_LEVEL_SD, _DEGREE_SD = 0.3, 0.15
"""Of log(measured / predicted): what all degrees share, and what one has for itself."""
_SLOPE_SD, _DEGREE_SLOPE_SD = 0.15, 0.1
_FACTOR_SD, _DEGREE_FACTOR_SD, _CONSTANT_SD = 0.3, 0.1, 0.2
"""Of the factors on a step's terms; of the constant, in the predicted constants of a step."""
_MEASURED_SD = 0.02
"""Of a latency without queueing, over itself."""
_GRID, _CONSTANT_GRID = 0.02, 0.05
_LEAST, _MOST = 1 / 3, 3.0
"""No factor on a term is believed outside."""


def ridge(
    rows: NDArray[np.float64], values: Vector, sds: Vector, mean: Vector, prior_sds: Vector
) -> Vector:
    """Most probable coefficients, shape ``(k,)``.

    Args:
        rows: shape ``(n, k)``; measured = rows @ coefficients + noise.
        values: measured, shape ``(n,)``.
        sds: of the noise, shape ``(n,)``.
        mean: of the coefficients before anything was measured, shape ``(k,)``.
        prior_sds: how far they may be from it, shape ``(k,)``.
    """
    scaled = rows / sds[:, None] * prior_sds
    rest = (values - rows @ mean) / sds
    gram = scaled.T @ scaled + np.eye(len(mean))
    found: Vector = mean + prior_sds * np.linalg.solve(gram, scaled.T @ rest)
    return found


@dataclass(frozen=True)
class Line:
    """measured = predicted + level + slope * (predicted - centre), in logarithms, by degree."""

    centre: float = 0.0
    level: float = 0.0
    slope: float = 0.0
    degree_levels: tuple[tuple[int, float], ...] = ()
    degree_slopes: tuple[tuple[int, float], ...] = ()

    def at(self, degree: int, predicted: float) -> float:
        """The corrected prediction."""
        level = self.level + dict(self.degree_levels).get(degree, 0.0)
        slope = self.slope + dict(self.degree_slopes).get(degree, 0.0)
        return predicted + level + slope * (predicted - self.centre)


def fit_line(
    degrees: Sequence[int], predicted: Sequence[float], measured: Sequence[float], noise: float
) -> Line:
    """The correction that a few pairs speak for; none where there are none.

    Args:
        noise: standard deviation of a measured value.
    """
    if not degrees:
        return Line()
    x, y = np.array(predicted), np.array(measured)
    known = sorted(set(degrees))
    centre = float(x.mean())
    ones = np.array([[float(d == k) for k in known] for d in degrees])
    away = (x - centre)[:, None]
    rows = np.hstack([np.ones((len(x), 1)), away, ones, ones * away])
    n = len(known)
    prior = np.array([_LEVEL_SD, _SLOPE_SD, *[_DEGREE_SD] * n, *[_DEGREE_SLOPE_SD] * n])
    found = ridge(rows, y - x, np.full(len(x), noise), np.zeros(2 + 2 * n), prior).tolist()
    return Line(
        centre=centre,
        level=found[0],
        slope=found[1],
        degree_levels=tuple(zip(known, found[2 : 2 + n], strict=True)),
        degree_slopes=tuple(zip(known, found[2 + n :], strict=True)),
    )


@dataclass(frozen=True)
class StepFactors:
    """What the terms of a step take over what was predicted.

    ``compute`` multiplies what grows with the tokens of a step, ``memory`` what a step of one token
    takes (weights and KV cache read, constants); ``constant_s`` is added to each step.
    """

    compute: float = 1.0
    memory: float = 1.0
    constant_s: float = 0.0

    def applied(self, times: StepTimes) -> StepTimes:
        """The step times, corrected."""
        alone = float(times.linear_s[1])
        linear = self.memory * alone + self.compute * (times.linear_s - alone)
        return replace(
            times,
            linear_s=np.maximum(linear, 0.0),
            kv_s=self.memory * times.kv_s,
            attention_s=self.compute * times.attention_s,
            step_s=max(self.memory * times.step_s + self.constant_s, 0.0),
            seq_s=self.memory * times.seq_s,
        )

    def rounded(self, step_s: float) -> StepFactors:
        """To whole 2 % (the constant: whole 5 % of a step's), so that what is known as well as the
        same need not be simulated twice."""
        compute, memory = (
            math.exp(_GRID * round(math.log(factor) / _GRID))
            for factor in (self.compute, self.memory)
        )
        coarse = _CONSTANT_GRID * step_s
        constant_s = coarse * round(self.constant_s / coarse) if coarse > 0 else 0.0
        return StepFactors(compute, memory, constant_s)

    def near(self, other: StepFactors, share: float, step_s: float) -> bool:
        """Whether the two differ by less than that share (the constants: of a step's)."""
        return (
            abs(self.compute - other.compute) < share * other.compute
            and abs(self.memory - other.memory) < share * other.memory
            and abs(self.constant_s - other.constant_s) < share * step_s
        )


@dataclass(frozen=True)
class StepFact:
    """Latencies of one configuration without queueing, in seconds; and its predicted step times."""

    degree: int
    times: StepTimes
    max_num_batched_tokens: int
    ttft_s: tuple[float, float] | None
    """Predicted and measured; None: not measured."""
    tpot_s: tuple[float, float] | None

    def rows(self, workload: Workload) -> list[tuple[tuple[float, float, float], float]]:
        """(seconds of the compute terms, of the memory terms, steps), and the seconds measured.

        The shares of the terms are those of a request of mean lengths; their sum is what was
        predicted.
        """
        times, found = self.times, []
        alone = float(times.linear_s[1]) + times.step_s + times.seq_s
        if self.ttft_s is not None:
            left = max(round(workload.prompt_tokens.mean) - workload.prefix_tokens, 1)
            compute = times.attention_s * left * (workload.prefix_tokens + left / 2)
            chunks = 0
            while left > 0:
                chunk = min(left, self.max_num_batched_tokens)
                compute += float(times.linear_s[chunk] - times.linear_s[1])
                left -= chunk
                chunks += 1
            share = compute / (compute + chunks * alone)
            predicted, measured = self.ttft_s
            found.append(((share * predicted, (1 - share) * predicted, float(chunks)), measured))
        if self.tpot_s is not None:
            predicted, measured = self.tpot_s
            found.append(((0.0, predicted, 1.0), measured))
        return found


def fit_step_factors(facts: Sequence[StepFact], workload: Workload) -> dict[int, StepFactors]:
    """The factors of each degree that was measured, and under 0 those of any other."""
    known = sorted({fact.degree for fact in facts})
    width = 3 + 2 * len(known)
    rows, values = [], []
    for fact in facts:
        place = 3 + 2 * known.index(fact.degree)
        for (compute, memory, steps), measured in fact.rows(workload):
            row = np.zeros(width)
            row[:3] = compute, memory, steps * fact.times.step_s
            row[place : place + 2] = compute, memory
            rows.append(row)
            values.append(measured)
    if not rows:
        return {0: StepFactors()}
    y = np.array(values)
    mean = np.array([1.0, 1.0, 0.0, *[0.0] * (width - 3)])
    prior = np.array([_FACTOR_SD, _FACTOR_SD, _CONSTANT_SD, *[_DEGREE_FACTOR_SD] * (width - 3)])
    found = ridge(np.array(rows), y, _MEASURED_SD * y, mean, prior)
    constant_s = float(found[2]) * facts[0].times.step_s

    def of(place: int | None) -> StepFactors:
        own = found[place : place + 2] if place is not None else np.zeros(2)
        compute, memory = np.clip(found[:2] + own, _LEAST, _MOST)
        return StepFactors(float(compute), float(memory), constant_s)

    return {0: of(None)} | {degree: of(3 + 2 * i) for i, degree in enumerate(known)}
