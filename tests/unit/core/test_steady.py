"""The slope and its interval, against processes whose slope is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optikit.core.arrivals import arrival_times
from optikit.core.steady import MIN_REQUESTS, steady_slope


@given(st.floats(0.1, 10), st.floats(-50, 50), st.integers(MIN_REQUESTS, 60), st.randoms())
def test_exact_line(beta: float, alpha: float, count: int, random: object) -> None:
    c = arrival_times("poisson", 2.0, count, seed=3)
    order = np.arange(count)
    random.shuffle(order)  # type: ignore[attr-defined]
    slope = steady_slope(c[order], (alpha + beta * c)[order])
    assert slope is not None
    assert slope.value == pytest.approx(beta, rel=1e-9)
    assert slope.low == pytest.approx(beta, rel=1e-6)
    assert slope.high == pytest.approx(beta, rel=1e-6)


def test_textbook_interval_where_errors_are_independent() -> None:
    rng = np.random.default_rng(0)
    covered, half, n = 0, [], 400
    c = np.arange(n, dtype=float)
    for _ in range(400):
        slope = steady_slope(c, 1.02 * c + rng.normal(0, 1, n))
        assert slope is not None
        covered += slope.low <= 1.02 <= slope.high
        half.append((slope.high - slope.low) / 2)
    assert 0.92 <= covered / 400 <= 0.98
    assert np.mean(half) == pytest.approx(1.966 / np.sqrt(n * (n**2 - 1) / 12), rel=0.05)


def test_interval_of_correlated_errors_is_far_better_than_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    covered, textbook, n, rho = 0, 0, 400, 0.9
    c = np.arange(n, dtype=float)
    for _ in range(300):
        noise = np.zeros(n)
        shocks = rng.normal(0, 1, n)
        for i in range(1, n):
            noise[i] = rho * noise[i - 1] + shocks[i]
        slope = steady_slope(c, c + noise)
        assert slope is not None
        covered += slope.low <= 1.0 <= slope.high
        plain = stats.linregress(c, c + noise)
        textbook += abs(plain.slope - 1.0) <= 1.966 * plain.stderr
        assert slope.value == pytest.approx(plain.slope)
    assert covered / 300 >= 0.8  # 84 % as simulated: not 95, and the docstring says so
    assert textbook / 300 <= 0.45


def _one_server(rate: float, service_s: float, count: int, seed: int) -> tuple[object, object]:
    c = arrival_times("poisson", rate, count, seed)
    r, free = np.zeros(count), 0.0
    for i, at in enumerate(c):
        free = max(free, at) + service_s
        r[i] = free
    return c, r


def test_queue_below_and_above_capacity() -> None:
    below = steady_slope(*_one_server(5.0, 0.1, 2_000, seed=0))  # type: ignore[arg-type]
    above = steady_slope(*_one_server(15.0, 0.1, 2_000, seed=0))  # type: ignore[arg-type]
    assert below is not None
    assert above is not None
    assert below.low <= 1.0 <= below.high
    assert below.value == pytest.approx(1.0, abs=0.01)
    assert above.value == pytest.approx(1.5, abs=0.05)
    assert above.low > 1.05


def test_too_little_to_say() -> None:
    few = list(range(MIN_REQUESTS - 1))
    assert steady_slope(few, few) is None
    assert steady_slope([1.0] * 20, list(range(20))) is None
    with pytest.raises(ValueError, match="equal vectors"):
        steady_slope([1.0, 2.0], [1.0])
