"""Timings to numbers: definitions, intervals, edge cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.metrics import broken_requests, latencies_ms, measure, quantile, timing_rows
from optikit.spec.timing import RequestTiming


def _timing(index: int, at: float, e2e: float = 1.0, lag: float = 0.0) -> RequestTiming:
    sent = at + lag
    return RequestTiming(index, at, sent, sent + e2e / 5, sent + e2e, 10, 5)


def _failed(index: int, at: float, error: str) -> RequestTiming:
    return RequestTiming(index, at, sent_s=at, error=error)


def test_definitions() -> None:
    timing = RequestTiming(0, 1.0, 1.01, 1.11, 1.51, prompt_tokens=7, output_tokens=5)
    assert latencies_ms([timing], "e2e") == pytest.approx([500.0])
    assert latencies_ms([timing], "ttft") == pytest.approx([100.0])
    assert latencies_ms([timing], "tpot") == pytest.approx([100.0])  # 400 ms over 4 further tokens
    assert latencies_ms([timing], "lag") == pytest.approx([10.0])


def test_one_output_token_has_no_tpot() -> None:
    timings = [RequestTiming(i, i, i, i + 0.1, i + 0.1, 7, 1) for i in range(20)]
    measurement = measure(timings, [("tpot", 50.0)])
    assert measurement.quantile("tpot", 50.0) is None
    assert measurement.quantile("ttft", 50.0) is not None


def test_rates_and_counts() -> None:
    timings = [_timing(i, 2.0 + i) for i in range(20)] + [_failed(20, 22.0, "HTTP 500: no")]
    measurement = measure(timings, [("e2e", 90.0)], offered_rps=1.0)
    assert (measurement.requests, measurement.completed, measurement.failed) == (21, 20, 1)
    assert measurement.duration_s == pytest.approx(20.0)  # first arrival 2, last completion 22
    assert measurement.achieved_rps == pytest.approx(1.0)
    assert measurement.output_tokens_per_s == pytest.approx(5.0)
    assert measurement.total_tokens_per_s == pytest.approx(15.0)
    assert measurement.mean_e2e_ms == pytest.approx(1000.0)
    assert measurement.slope == pytest.approx(1.0)
    assert measurement.error_sample == "HTTP 500: no"
    assert {(q.metric, q.percentile) for q in measurement.quantiles} == {
        *((m, p) for m in ("e2e", "ttft", "tpot") for p in (50.0, 95.0, 99.0)),
        ("e2e", 90.0),
        ("lag", 99.0),
    }


def test_slope_counts_from_the_schedule_not_from_a_late_send() -> None:
    timings = [_timing(i, float(i), lag=0.5 * i) for i in range(20)]
    assert measure(timings, offered_rps=1.0).slope == pytest.approx(1.5)


def test_a_closed_loop_has_no_slope() -> None:
    assert measure([_timing(i, float(i)) for i in range(20)]).slope is None


def test_nothing_completed() -> None:
    measurement = measure([_failed(i, float(i), "connection refused") for i in range(3)], (), 1.0)
    assert measurement.completed == 0
    assert measurement.achieved_rps == 0.0
    assert measurement.mean_e2e_ms == 0.0
    assert [q.metric for q in measurement.quantiles] == ["lag"]
    assert measure([]).requests == 0


def test_failed_requests_have_no_latency() -> None:
    slow = _timing(0, 0.0, e2e=100.0)
    slow.error = "asked 8 tokens, got 5"
    measurement = measure([slow, *(_timing(i, float(i)) for i in range(1, 30))])
    worst = measurement.quantile("e2e", 99.0)
    assert worst is not None
    assert worst.value_ms == pytest.approx(1000.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.1, 99.9))
def test_quantile_is_the_smallest_value_that_covers_the_share(
    values: list[float], percentile: float
) -> None:
    ordered = sorted(values)
    found = quantile("e2e", ordered, percentile)
    share = sum(v <= found.value_ms for v in ordered) / len(ordered)
    assert share >= percentile / 100 - 1e-9
    smaller = [v for v in ordered if v < found.value_ms]
    assert len(smaller) / len(ordered) < percentile / 100 + 1e-9
    assert found.low_ms is None or found.low_ms <= found.value_ms
    assert found.high_ms is None or found.high_ms >= found.value_ms


def test_rounding_does_not_move_a_rank() -> None:
    ordered = [float(v) for v in range(1, 101)]
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
    found = quantile("e2e", [float(v) for v in range(1, n + 1)], percentile)
    assert (found.low_ms, found.high_ms) == (low, high)


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    truth = 1e3 * np.log(20.0)  # p95 of an exponential with mean 1 s
    covered = 0
    for _ in range(400):
        found = quantile("e2e", sorted(rng.exponential(1e3, 300).tolist()), 95.0)
        assert found.low_ms is not None
        assert found.high_ms is not None
        covered += found.low_ms <= truth <= found.high_ms
    assert 0.93 <= covered / 400 <= 0.99


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
    broken = [e for e in errors if broken_requests([_failed(0, 0.0, e)])]
    assert broken == errors[:4]
    assert broken_requests([_timing(0, 0.0)]) == 0


def test_rows_come_back_from_json() -> None:
    timings = [_timing(0, 0.25), _failed(1, 0.5, "HTTP 500: oh")]
    text = json.dumps(timing_rows(timings))
    assert [RequestTiming(**row) for row in json.loads(text)] == timings
