"""Arrivals: exactly the offered rate, the right law, repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optikit.core.arrivals import arrival_times
from optikit.spec.workload import Arrivals, Trace

TRACE = Trace(
    source="t.csv",
    arrivals_s=(0.0, 1.0, 1.0, 4.0, 9.0),
    prompt_tokens=(1, 2, 3, 4, 5),
    output_tokens=(1, 1, 1, 1, 1),
)
KINDS: tuple[Arrivals, ...] = ("poisson", "constant", "gamma", "trace")
kinds = st.sampled_from(KINDS)


def times_of(kind: Arrivals, rate: float, count: int, seed: int, start: int = 0) -> Any:
    shape = 0.3 if kind == "gamma" else 1.0
    return arrival_times(kind, rate, count, seed, burstiness=shape, trace=TRACE, start=start)


@given(kinds, st.floats(0.01, 1e4), st.integers(0, 80), st.integers(0, 2**40), st.integers(-99, 99))
def test_in_order_within_the_span_and_repeatable(
    kind: Arrivals, rate: float, count: int, seed: int, start: int
) -> None:
    times = times_of(kind, rate, count, seed, start)
    assert times.shape == (count,)
    assert np.all(np.diff(times) >= 0)
    assert np.all((times >= 0) & (times <= count / rate))
    assert np.array_equal(times, times_of(kind, rate, count, seed, start))


@given(kinds, st.floats(0.01, 100), st.floats(1.1, 10))
def test_rate_only_stretches_time(kind: Arrivals, rate: float, factor: float) -> None:
    slow, fast = (times_of(kind, r, 20, 5) for r in (rate, rate * factor))
    assert np.allclose(slow, fast * factor)


@pytest.mark.parametrize("kind", ["poisson", "gamma"])
def test_another_seed_another_sequence(kind: Arrivals) -> None:
    one, other = (times_of(kind, 3.0, 5, seed) for seed in (0, 1))
    assert not np.allclose(one, other)


def test_poisson_gaps_are_exponential_and_independent() -> None:
    times = arrival_times("poisson", 4.0, 20_000, seed=1)
    gaps = np.diff(times, prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 0.25)).pvalue > 0.01
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_poisson_arrivals_lie_anywhere_alike() -> None:
    places = np.concatenate([arrival_times("poisson", 2.0, 3, seed) for seed in range(2_000)])
    assert stats.kstest(places, "uniform", args=(0, 1.5)).pvalue > 0.01


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0, 100.0])
def test_gamma_gaps_have_the_asked_variation(shape: float) -> None:
    times = arrival_times("gamma", 7.0, 40_000, seed=2, burstiness=shape)
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(1 / 7, rel=0.01)
    assert gaps.std() / gaps.mean() == pytest.approx(shape**-0.5, rel=0.05)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize("shape", [1.0, 50.0])
def test_two_spans_of_gamma_arrivals_meet_as_one_process(shape: float) -> None:
    """The gap across the seam is the gap that a fixed instant falls into: its mean is
    (1 + 1 / shape) mean gaps (the inspection paradox)."""
    seams = []
    for seed in range(3_000):
        left, right = (
            arrival_times("gamma", 1.0, 200, 2 * seed + k, burstiness=shape) for k in (0, 1)
        )
        seams.append(200 - left[-1] + right[0])
    assert np.mean(seams) == pytest.approx(1 + 1 / shape, rel=0.05)


def test_constant_gaps() -> None:
    assert arrival_times("constant", 4.0, 4, seed=3).tolist() == [0.125, 0.375, 0.625, 0.875]


@given(st.integers(0, 4), st.integers(2, 20), st.floats(0.1, 50))
def test_a_replayed_trace_keeps_its_proportions(start: int, count: int, rate: float) -> None:
    mean_gap = 9 / 4
    recorded = [mean_gap, 1.0, 0.0, 3.0, 5.0]
    inner = np.array([recorded[(start + k) % 5] for k in range(1, count)])
    found = np.diff(arrival_times("trace", rate, count, seed=0, trace=TRACE, start=start))
    whole = inner.sum() + (recorded[start] + recorded[(start + count) % 5]) / 2
    assert np.allclose(found, inner * (count / rate / whole), atol=1e-9)


def test_a_stretch_at_one_instant_arrives_at_once() -> None:
    burst = Trace(
        source="t", arrivals_s=(0, 5, 5, 5, 5, 9), prompt_tokens=(1,) * 6, output_tokens=(1,) * 6
    )
    assert arrival_times("trace", 2.0, 1, 0, trace=burst, start=3).tolist() == [0.0]
    assert np.ptp(arrival_times("trace", 2.0, 4, 0, trace=burst, start=1)) == 0


@pytest.mark.parametrize(("rate", "count"), [(0.0, 3), (-1.0, 3), (float("nan"), 3), (1.0, -1)])
def test_refuses_nonsense(rate: float, count: int) -> None:
    with pytest.raises(ValueError, match="arrivals"):
        arrival_times("poisson", rate, count, seed=0)


def test_refuses_what_is_missing() -> None:
    with pytest.raises(ValueError, match="need the trace"):
        arrival_times("trace", 1.0, 3, seed=0)
    with pytest.raises(ValueError, match="burstiness above 0"):
        arrival_times("gamma", 1.0, 3, seed=0, burstiness=0.0)
