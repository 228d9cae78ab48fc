"""Exact Gaussian-process regression for a few dozen observations.

Formulas: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.2
(prediction by the Cholesky factor), 4.2.1 (Matern 5/2) and 5.4.1 (marginal likelihood).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import ndtr

__all__ = ["GaussianProcess", "Kernel", "fit_gaussian", "log_expected_improvement", "matern"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_JITTER = 1e-10
_STEPS = (-1.2, -0.4, 0.4, 1.2)
"""Moves of a logarithm of a hyperparameter that are tried, over the prior's deviation."""
_SWEEPS = 3
_SD_SPREAD, _LENGTH_SPREAD = 0.7, 0.7
"""Prior standard deviations of log(sd) and log(length)."""


@dataclass(frozen=True)
class Kernel:
    """level^2 + sd^2 Matern 5/2 over distances in units of ``lengths``."""

    sd: float
    """Of the function around its level."""
    lengths: tuple[float, ...]
    """How far the function stays alike, one a coordinate."""
    level: float = 0.0
    """Standard deviation of what all points share."""

    def between(self, one: Matrix, other: Matrix) -> Matrix:
        """Covariances, shape ``(n, m)``, of points of shapes ``(n, d)`` and ``(m, d)``."""
        scaled = (one[:, None, :] - other[None, :, :]) / np.array(self.lengths)
        return self.level**2 + self.sd**2 * matern(np.sqrt((scaled**2).sum(axis=-1)))


def matern(distance: Matrix) -> Matrix:
    """Matern 5/2 correlation: 1 at distance 0, falling."""
    r = math.sqrt(5) * distance
    found: Matrix = (1 + r + r * r / 3) * np.exp(-r)
    return found


class GaussianProcess:
    """A function known at a few points, with mean 0 before.

    Args:
        places: shape ``(n, d)``; ``n`` may be 0.
        values: observed, shape ``(n,)``.
        noise: standard deviation of each observation, shape ``(n,)``.

    Raises:
        ValueError: shapes that do not belong together, or a value that is no number.
    """

    def __init__(self, places: Matrix, values: Vector, noise: Vector, kernel: Kernel) -> None:
        places = places.reshape(-1, len(kernel.lengths))
        if not len(places) == len(values) == len(noise):
            raise ValueError(f"{len(places)} places, {len(values)} values, {len(noise)} noises")
        if not (np.isfinite(places).all() and np.isfinite(values).all()):
            raise ValueError("a Gaussian process takes finite numbers only")
        self.kernel = kernel
        self._places, self._values, self._noise = places, values, noise
        covariance = kernel.between(places, places)
        covariance[np.diag_indices_from(covariance)] += noise**2 + _JITTER
        self._factor = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._factor, True), values) if len(values) else values
        fit = float(values @ self._weights)
        logs = float(np.log(np.diag(self._factor)).sum())
        self.log_likelihood = -0.5 * fit - logs - 0.5 * len(values) * math.log(2 * math.pi)

    def at(self, places: Matrix) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the function, each of shape ``(m,)``, noise left out."""
        own = self.kernel.level**2 + self.kernel.sd**2
        if len(self._places) == 0:
            return np.zeros(len(places)), np.full(len(places), math.sqrt(own))
        across = self.kernel.between(places, self._places)
        half = solve_triangular(self._factor, across.T, lower=True)
        left = np.maximum(own - (half**2).sum(axis=0), _JITTER)
        return across @ self._weights, np.sqrt(left)

    def with_more(self, places: Matrix, values: Vector, noise: Vector) -> GaussianProcess:
        """The same process with further observations."""
        return GaussianProcess(
            np.concatenate([self._places, places]),
            np.concatenate([self._values, values]),
            np.concatenate([self._noise, noise]),
            self.kernel,
        )


def fit_gaussian(
    places: Matrix, values: Vector, noise: Vector, usual: Kernel, *, fit_lengths: bool = True
) -> GaussianProcess:
    """The process with the most probable kernel.

    ``sd`` and ``lengths`` are lognormal around those of ``usual`` and are searched one after the
    other over a few steps: with few observations the usual kernel stays. The level is kept.
    """
    if len(values) < 2:
        return GaussianProcess(places, values, noise, usual)
    count = 1 + (len(usual.lengths) if fit_lengths else 0)
    spreads = [_SD_SPREAD, *[_LENGTH_SPREAD] * len(usual.lengths)]

    def moved(moves: list[float]) -> Kernel:
        by = [math.exp(m * s) for m, s in zip(moves, spreads, strict=False)]
        by += [1.0] * (1 + len(usual.lengths) - len(by))
        lengths = tuple(length * b for length, b in zip(usual.lengths, by[1:], strict=True))
        return replace(usual, sd=usual.sd * by[0], lengths=lengths)

    def worth(moves: list[float]) -> tuple[float, GaussianProcess]:
        found = GaussianProcess(places, values, noise, moved(moves))
        return found.log_likelihood - 0.5 * sum(m * m for m in moves), found

    moves = [0.0] * count
    best, process = worth(moves)
    for _ in range(_SWEEPS):
        before = best
        for i in range(count):
            for step in _STEPS:
                tried = [*moves]
                tried[i] += step
                value, found = worth(tried)
                if value > best:
                    best, process, moves = value, found, tried
        if best <= before:
            break
    return process


def log_expected_improvement(mean: Vector, sd: Vector, best: float) -> Vector:
    """log E[max(f - best, 0)] of normal f, shape ``(n,)``; finite far below the best too.

    For z = (mean - best) / sd far below 0, phi(z) + z Phi(z) is phi(z) / z^2 (1 - 3 / z^2 + ...);
    the direct form there loses all digits (Ament et al., NeurIPS 2023, section 4.1).
    """
    z = (mean - best) / sd
    log_phi = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    direct = np.exp(log_phi) + z * ndtr(z)
    far = z < -6
    safe = np.where(far, 1.0, np.maximum(direct, 1e-300))
    square = np.maximum(z * z, 1.0)
    series = log_phi - np.log(square) + np.log1p(-3 / np.maximum(square, 36.0))
    found: Vector = np.log(sd) + np.where(far, series, np.log(safe))
    return found
