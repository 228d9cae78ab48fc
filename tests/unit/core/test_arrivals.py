"""Arrivals: right rate, right law, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optikit.core.arrivals import arrival_times


def test_poisson_gaps_are_exponential_and_independent() -> None:
    times = arrival_times("poisson", 4.0, 20_000, seed=1)
    gaps = np.diff(times, prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 0.25)).pvalue > 0.01
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_poisson_begins_after_one_gap() -> None:
    firsts = [arrival_times("poisson", 2.0, 1, seed)[0] for seed in range(2_000)]
    assert np.mean(firsts) == pytest.approx(0.5, rel=0.08)


def test_constant_gaps() -> None:
    assert arrival_times("constant", 4.0, 4, seed=3).tolist() == [0.0, 0.25, 0.5, 0.75]


@given(st.sampled_from(["poisson", "constant"]), st.integers(0, 2**40), st.integers(0, 50))
def test_ordered_and_repeatable(kind: str, seed: int, count: int) -> None:
    times = arrival_times(kind, 3.0, count, seed)  # type: ignore[arg-type]
    assert times.shape == (count,)
    assert np.all(np.diff(times) >= 0)
    assert np.array_equal(times, arrival_times(kind, 3.0, count, seed))  # type: ignore[arg-type]


def test_another_seed_another_sequence() -> None:
    one, other = (arrival_times("poisson", 3.0, 5, seed) for seed in (0, 1))
    assert not np.array_equal(one, other)


@given(st.floats(0.01, 100), st.floats(1.1, 10))
def test_rate_only_stretches_time(rate: float, factor: float) -> None:
    slow, fast = (arrival_times("poisson", r, 20, 5) for r in (rate, rate * factor))
    assert np.allclose(slow, fast * factor)


@pytest.mark.parametrize(("rate", "count"), [(0.0, 3), (-1.0, 3), (float("nan"), 3), (1.0, -1)])
def test_refuses_nonsense(rate: float, count: int) -> None:
    with pytest.raises(ValueError, match="arrivals"):
        arrival_times("poisson", rate, count, seed=0)
