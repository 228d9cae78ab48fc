"""Has the server kept up? The slope of completion time on arrival time, with its interval.

``r_i = alpha + beta * c_i + eps_i``: request i arrived at c_i and was complete at r_i. In steady
state beta is 1; above 1 the backlog grows while requests arrive.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

__all__ = ["MIN_REQUESTS", "Slope", "steady_slope"]

MIN_REQUESTS = 10
"""Fewer points give no standard error worth the name."""
_MAX_CORRELATION = 0.97


class Slope(NamedTuple):
    """beta and its 95 % confidence interval; dimensionless (seconds per second)."""

    value: float
    low: float
    high: float


def steady_slope(arrivals_s: ArrayLike, completions_s: ArrayLike) -> Slope | None:
    """Least-squares slope of completions on arrivals.

    Requests that arrive one after the other wait in the same queue, so their residuals are
    correlated and the textbook standard error is too small. It is replaced by Newey and West's
    (Econometrica 55, 1987, p. 703) with the bandwidth of Andrews (Econometrica 59, 1991, p. 817,
    Bartlett kernel, AR(1) plug-in); the quantile is the larger of Student's with n - 2 degrees of
    freedom and the fixed-b one of Kiefer and Vogelsang (Econometric Theory 21, 2005, p. 1130).
    It is still too narrow where few requests are strongly correlated: simulated AR(1) errors of
    correlation 0 / .5 / .9 are covered in 95 / 92 / 84 % of runs of 300 requests and in
    95 / 93 / 89 % of runs of 1000 (the textbook interval: 95 / 74 / 35 %).

    Args:
        arrivals_s: when each request arrived, seconds, shape ``(n,)``.
        completions_s: when it was complete, same order.

    Returns:
        None where there are fewer than ``MIN_REQUESTS`` points, or all arrived at once.
    """
    c = np.asarray(arrivals_s, dtype=np.float64)
    r = np.asarray(completions_s, dtype=np.float64)
    if c.shape != r.shape or c.ndim != 1:
        raise ValueError(f"arrivals {c.shape} and completions {r.shape} must be equal vectors")
    n = len(c)
    if n < MIN_REQUESTS:
        return None
    order = np.argsort(c, kind="stable")
    c, r = c[order], r[order]
    x = c - c.mean()
    spread = float(x @ x)
    if not spread > 0:
        return None
    beta = float(x @ (r - r.mean())) / spread
    scores = x * (r - r.mean() - beta * x)
    total, bandwidth = _long_run_sum(scores)
    error = math.sqrt(total * n / (n - 2)) / spread
    half = max(float(stdtrit(n - 2, 0.975)), _fixed_b(bandwidth)) * error
    return Slope(beta, beta - half, beta + half)


def _fixed_b(share: float) -> float:
    """97.5 % quantile of the t statistic, Bartlett kernel of bandwidth ``share`` of the sample."""
    return 1.9600 + 2.9694 * share + 0.4160 * share**2 - 0.5324 * share**3


def _long_run_sum(scores: NDArray[np.float64]) -> tuple[float, float]:
    """n times the long-run variance of the scores, Bartlett weights, and the bandwidth over n."""
    n = len(scores)
    total = float(scores @ scores)
    if not total > 0:
        return 0.0, 1 / n
    rho = float(scores[1:] @ scores[:-1]) / total
    rho = min(max(rho, -_MAX_CORRELATION), _MAX_CORRELATION)
    alpha = 4 * rho**2 / (1 - rho**2) ** 2
    lags = min(math.floor(1.1447 * (alpha * n) ** (1 / 3)), n - 1)
    value = total
    for lag in range(1, lags + 1):
        weight = 1 - lag / (lags + 1)
        value += 2 * weight * float(scores[lag:] @ scores[:-lag])
    return max(value, 0.0), (lags + 1) / n
