"""Lengths: within their bounds, distributed as asked, and every probe weighs the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optikit.core.lengths import lengths, trace_lengths
from optikit.spec.workload import Length, Trace


def drawn(spec: Any, count: int, seed: int = 0) -> Any:
    return lengths(Length.parse(spec), count, np.random.default_rng(seed))


@st.composite
def any_length(draw: st.DrawFn) -> Length:
    low = draw(st.integers(1, 2_000))
    high = draw(st.integers(low, low + 5_000))
    kind = draw(st.sampled_from(["fixed", "uniform", "normal", "lognormal"]))
    if kind == "fixed":
        return Length.parse(low)
    if kind == "uniform":
        return Length.parse({"distribution": kind, "low": low, "high": high})
    mean, std = draw(st.floats(low, high)), draw(st.floats(0, 5_000))
    return Length.parse({"distribution": kind, "mean": mean, "std": std, "low": low, "high": high})


@given(any_length(), st.integers(0, 200), st.integers(0, 2**40))
def test_within_bounds_and_repeatable(length: Length, count: int, seed: int) -> None:
    found = lengths(length, count, np.random.default_rng(seed))
    assert found.shape == (count,)
    assert found.dtype == np.int64
    assert np.all((length.low <= found) & (found <= length.high))
    assert np.array_equal(found, lengths(length, count, np.random.default_rng(seed)))


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_mean_and_spread_are_those_of_the_length(kind: str) -> None:
    spec = {"distribution": kind, "mean": 800.0, "std": 200.0, "high": 20_000}
    found = drawn(spec, 20_000)
    assert found.mean() == pytest.approx(800, rel=0.002)
    assert found.std() == pytest.approx(200, rel=0.02)
    if kind == "lognormal":
        assert stats.skew(np.log(found)) == pytest.approx(0, abs=0.05)
        assert stats.skew(found) > 0.5
    else:
        assert stats.skew(found) == pytest.approx(0, abs=0.05)


def test_every_whole_number_of_a_uniform_range_is_as_likely() -> None:
    values, counts = np.unique(
        drawn({"distribution": "uniform", "low": 3, "high": 12}, 10_000), return_counts=True
    )
    assert values.tolist() == list(range(3, 13))
    assert np.all(np.abs(counts - 1_000) <= 1)


def test_a_cut_normal_is_cut_and_not_piled_up() -> None:
    spec = {"distribution": "normal", "mean": 100, "std": 50, "low": 90, "high": 110}
    values, counts = np.unique(drawn(spec, 21_000), return_counts=True)
    assert values.tolist() == list(range(90, 111))
    assert counts.max() < 1.1 * counts.min()


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
@pytest.mark.parametrize("count", [100, 1_000])
def test_the_load_of_a_probe_hardly_strays(kind: str, count: int) -> None:
    spec = {"distribution": kind, "mean": 800.0, "std": 600.0, "high": 8_000}
    sums = [drawn(spec, count, seed).sum() for seed in range(100)]
    by_chance = 600 / 800 / count**0.5
    assert np.std(sums) / np.mean(sums) < 0.25 * by_chance


def test_order_is_random() -> None:
    spec = {"distribution": "uniform", "low": 1, "high": 1_000}
    found = drawn(spec, 5_000)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.05
    assert not np.array_equal(found, drawn(spec, 5_000, seed=1))


def test_no_spread_at_all() -> None:
    for kind in ("normal", "lognormal"):
        assert set(drawn({"distribution": kind, "mean": 7, "std": 0, "high": 9}, 50)) == {7}


def test_rows_of_a_trace_go_around_its_end() -> None:
    trace = Trace(
        source="t", arrivals_s=(0, 1, 2), prompt_tokens=(10, 20, 30), output_tokens=(1, 2, 3)
    )
    prompt, output = trace_lengths(trace, 5, start=2)
    assert prompt.tolist() == [30, 10, 20, 30, 10]
    assert output.tolist() == [3, 1, 2, 3, 1]
    assert trace_lengths(trace, 2, start=-1)[0].tolist() == [30, 10]
