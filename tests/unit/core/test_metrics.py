"""Timings to numbers: definitions, intervals, edge cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal, stats

from optikit.core.evidence import excess
from optikit.core.metrics import (
    broken_requests,
    evidence_of,
    inflation,
    lag_ms,
    measure,
    quantile,
    share_interval,
)
from optikit.spec.slo import Slo
from tests.unit.core.timing_case import NAN, timings

SLO = Slo.parse(["p90(e2e) <= 1500 ms"])
EVERY_S = np.arange(20, dtype=float)


def correlated(rng: np.random.Generator, rows: int, count: int, rho: float) -> NDArray[Any]:
    """Standard normal AR(1) rows, shape ``(rows, count)``."""
    shocks = rng.standard_normal((rows, count + 200)) * np.sqrt(1 - rho**2)
    return np.asarray(signal.lfilter([1], [1, -rho], shocks, axis=1)[:, 200:])


# ---- measure


def test_rates_and_counts() -> None:
    failed = timings([*(2.0 + EVERY_S), 22.0], [1.0] * 20 + [NAN], errors={20: "HTTP 500: no"})
    found = measure(failed, SLO, offered_rps=1.0)
    assert (found.requests, found.completed, found.failed) == (21, 20, 1)
    assert found.duration_s == pytest.approx(20.0)  # first arrival 2, last completion 22
    assert found.achieved_rps == pytest.approx(1.0)
    assert found.output_tokens_per_s == pytest.approx(5.0)
    assert found.total_tokens_per_s == pytest.approx(15.0)
    assert found.mean_e2e_ms == pytest.approx(1000.0)
    assert found.mean_in_flight == pytest.approx(1.0)  # Little's law: 1 req/s x 1 s
    assert found.slope == pytest.approx(1.0)
    assert found.error_sample == "HTTP 500: no"
    assert {(q.metric, q.percentile) for q in found.quantiles} == {
        *((m, p) for m in ("e2e", "ttft", "tpot") for p in (50.0, 95.0, 99.0)),
        ("e2e", 90.0),
        ("lag", 99.0),
    }


def test_a_closed_loop_that_did_not_come_to_its_last_requests() -> None:
    """A server that hangs: the client waits, and the rest is never due."""
    hung = timings(
        [0.0, 1.0, NAN, NAN], [1.0, NAN, NAN, NAN], errors={1: "late", 2: "late", 3: "late"}
    )
    found = measure(hung, SLO)
    assert (found.completed, found.failed) == (1, 3)
    assert found.duration_s == pytest.approx(1.0)
    none = measure(timings([NAN, NAN], [NAN, NAN], errors={0: "late", 1: "late"}), SLO)
    assert (none.completed, none.duration_s, none.achieved_rps) == (0, 0.0, 0.0)


def test_what_goes_before_and_behind_is_not_counted() -> None:
    at = np.arange(30, dtype=float)
    e2e = np.where((at >= 5) & (at < 25), 1.0, 100.0)
    ramped = timings(at, e2e, first=5, last=25, errors={2: "HTTP 500", 28: "HTTP 500"})
    found = measure(ramped, SLO, offered_rps=1.0)
    assert found == measure(timings(5 + EVERY_S, 1.0), SLO, offered_rps=1.0)
    assert (found.requests, found.failed, found.bounds[0].over) == (20, 0, 0)


def test_goodput_counts_what_kept_every_limit() -> None:
    slo = Slo.parse(["p90(e2e) <= 1 s", "goodput(ttft <= 100 ms) >= 50 %"])
    found = measure(timings(EVERY_S, [1.0] * 15 + [2.0] * 5, ttft=[0.2] * 5 + [0.09] * 15), slo)
    assert found.goodput_rps == pytest.approx(10 / found.duration_s)
    assert [(b.over, b.counted) for b in found.bounds] == [(5, 20), (5, 20)]
    assert measure(timings(EVERY_S), Slo()).goodput_rps is None


def test_slope_counts_from_the_schedule_not_from_a_late_send() -> None:
    late = timings(EVERY_S, lag=0.5 * EVERY_S)
    assert measure(late, Slo(), offered_rps=1.0).slope == pytest.approx(1.5)
    assert measure(late, Slo()).slope is None  # a closed loop has none
    assert lag_ms(late) == pytest.approx(500 * EVERY_S)


def test_nothing_completed() -> None:
    errors = dict.fromkeys(range(3), "connection refused")
    found = measure(timings(EVERY_S[:3], NAN, ttft=NAN, errors=errors), SLO, 1.0)
    assert found.completed == 0
    assert found.achieved_rps == 0.0
    assert found.mean_e2e_ms == 0.0
    assert [q.metric for q in found.quantiles] == ["lag"]
    assert (found.bounds[0].over, found.bounds[0].share) == (3, 1.0)
    assert found.bounds[0].high == 1.0
    assert measure(timings([]), SLO).requests == 0
    assert measure(timings([]), SLO).bounds[0].share == 1.0


def test_failed_requests_have_no_latency() -> None:
    e2e = [100.0] + [1.0] * 29
    found = measure(timings(np.arange(30.0), e2e, errors={0: "asked 8 tokens, got 5"}), SLO)
    worst = found.quantile("e2e", 99.0)
    assert worst is not None
    assert worst.value_ms == pytest.approx(1000.0)


def test_gaps_have_quantiles_where_tokens_were_kept() -> None:
    tokens = [[i + 0.1, i + 0.2, i + 0.5] for i in range(20)]
    found = measure(timings(EVERY_S, 0.5, tokens=tokens), Slo()).quantile("itl", 50.0)
    assert found is not None
    assert found.value_ms == pytest.approx(100.0)
    assert measure(timings(EVERY_S), Slo()).quantile("itl", 50.0) is None


# ---- quantiles


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.1, 99.9))
def test_quantile_is_the_smallest_value_that_covers_the_share(
    values: list[float], percentile: float
) -> None:
    found = quantile("e2e", np.array(values), percentile)
    share = sum(v <= found.value_ms for v in values) / len(values)
    assert share >= percentile / 100 - 1e-9
    smaller = [v for v in values if v < found.value_ms]
    assert len(smaller) / len(values) < percentile / 100 + 1e-9
    assert found.low_ms is None or found.low_ms <= found.value_ms
    assert found.high_ms is None or found.high_ms >= found.value_ms


def test_rounding_does_not_move_a_rank() -> None:
    ordered = np.arange(1.0, 101.0)
    for percentile in range(1, 100):
        assert quantile("e2e", ordered, percentile).value_ms == percentile


@pytest.mark.parametrize(
    ("n", "percentile", "low", "high"),
    [
        (10, 50.0, 2, 9),  # tables of the sign test
        (20, 50.0, 6, 15),
        (10, 95.0, 8, None),
        (71, 95.0, 63, None),  # .95 ** 71 = .026
        (72, 95.0, 64, 72),  # .95 ** 72 = .025
        (5, 50.0, None, None),  # 2 ** -5 = .031
    ],
)
def test_interval_ranks(n: int, percentile: float, low: int | None, high: int | None) -> None:
    mixed = np.arange(n, dtype=np.float64) * 7 % n + 1  # the largest ones far from each other
    found = quantile("e2e", mixed, percentile)
    assert (found.low_ms, found.high_ms) == (low, high)


@pytest.mark.parametrize(("rho", "least"), [(0.0, 0.93), (0.5, 0.9), (0.9, 0.88)])
def test_interval_covers_the_truth_of_correlated_latencies(rho: float, least: float) -> None:
    """Exponential latencies whose neighbours are alike; 400 repetitions at a fixed seed."""
    rng = np.random.default_rng(2)
    covered = 0
    rows = 1e3 * stats.expon.isf(stats.norm.sf(correlated(rng, 400, 1000, rho)))
    for row in rows:
        found = quantile("e2e", row, 95.0)
        low = 0.0 if found.low_ms is None else found.low_ms
        high = np.inf if found.high_ms is None else found.high_ms
        covered += low <= 1e3 * np.log(20.0) <= high
    assert least <= covered / 400 <= 1.0


# ---- shares


def test_inflation_tells_independent_from_correlated() -> None:
    rng = np.random.default_rng(1)
    independent = np.mean([inflation((rng.random(1600) < 0.1).astype(float)) for _ in range(50)])
    assert 1.0 <= independent < 1.3  # at least 1 each, so a little above it
    waves = correlated(rng, 50, 1600, 0.9) > 1.28
    together = np.mean([inflation(row.astype(float)) for row in waves])
    assert together > 4
    runs = np.repeat((rng.random(400) < 0.1).astype(float), 4)  # four by four the same
    assert inflation(runs) == pytest.approx(4.0, rel=0.6)


def test_inflation_where_nothing_can_be_said() -> None:
    assert inflation(np.zeros(0)) == 1.0
    assert inflation(np.zeros(500)) == 1.0
    assert inflation(np.ones(500)) == 1.0
    assert inflation(np.array([0.0, 1.0] * 15)) == 1.0  # less than four batches of eight


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_interval_is_clopper_and_pearsons(counts: tuple[int, int]) -> None:
    over, n = counts
    low, high = share_interval(over / n, n)
    exact = stats.binomtest(over, n).proportion_ci(0.95, method="exact")
    assert [low, high] == pytest.approx([exact.low, exact.high], abs=1e-9)
    wide = share_interval(over / n, n, tail=0.0005)
    assert wide[0] <= low <= over / n <= high <= wide[1]


@given(st.floats(0, 1), st.floats(0.5, 1e5))
def test_share_interval_of_counts_that_are_not_whole(share: float, worth: float) -> None:
    low, high = share_interval(share, worth)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    over = share * worth
    if 1 < over < worth - 1:
        assert stats.beta.cdf(low, over, worth - over + 1) == pytest.approx(0.025, abs=1e-6)
        assert stats.beta.sf(high, over + 1, worth - over) == pytest.approx(0.025, abs=1e-6)


def test_evidence_of_independent_requests_counts_every_one() -> None:
    bound = SLO.bounds[0]
    rng = np.random.default_rng(5)
    slow = np.where(rng.random(800) < 0.05, 2.0, rng.uniform(0.5, 1.0, 800))
    found = evidence_of(bound, excess(timings(np.arange(800.0), slow), bound))
    over = int((slow > 1.5).sum())
    assert (found.counted, found.over, found.share) == (800, over, over / 800)
    assert 400 < found.effective <= 800
    assert found.low < found.share < found.high
    assert (found.bound, found.allowed, found.adjusted) == (str(bound), bound.allowed, False)


@pytest.mark.parametrize(("rho", "least"), [(0.0, 0.93), (0.8, 0.88)])
def test_the_share_is_covered_also_where_latencies_are_correlated(rho: float, least: float) -> None:
    bound, rng = SLO.bounds[0], np.random.default_rng(3)
    at, truth = np.arange(1600.0), float(stats.norm.sf(1.4))
    covered = 0
    for row in correlated(rng, 200, 1600, rho):
        e2e = 1.5 * np.exp(0.1 * (row - 1.4))
        found = evidence_of(bound, excess(timings(at, e2e), bound))
        covered += found.low <= truth <= found.high
    assert least <= covered / 200 <= 1.0


# ---- failures


def test_which_failures_are_not_the_servers() -> None:
    errors = [
        "client: too many open files",
        "HTTP 400: bad",
        "HTTP 404: none",
        "asked 8 tokens, got 5",
        "HTTP 429: later",
        "HTTP 500: oh",
        "connection refused",
        "not finished in 30 s",
    ]
    broken = [e for e in errors if broken_requests(timings([0.0], errors={0: e}))]
    assert broken == errors[:4]
    assert broken_requests(timings([0.0])) == 0


def test_only_measured_failures_are_counted() -> None:
    errors = {0: "HTTP 400: bad", 2: "HTTP 400: bad"}
    assert broken_requests(timings(EVERY_S[:4], errors=errors, first=1, last=4)) == 1
