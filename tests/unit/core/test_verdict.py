"""Verdicts, one rule a test."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.core.verdict import judge_closed, judge_open
from optikit.spec.job import MethodChoice
from optikit.spec.record import Measurement, Quantile
from optikit.spec.slo import Slo

METHOD = MethodChoice()
SLO = Slo.parse(["p95(e2e) <= 500 ms"])
NO_SLO = Slo()


def _measured(
    value: float = 400.0,
    low: float | None = 380.0,
    high: float | None = 450.0,
    lag: float = 1.0,
    **changes: Any,
) -> Measurement:
    facts: dict[str, Any] = {
        "requests": 300,
        "completed": 300,
        "failed": 0,
        "offered_rps": 2.0,
        "achieved_rps": 2.0,
        "output_tokens_per_s": 20.0,
        "total_tokens_per_s": 40.0,
        "duration_s": 150.0,
        "mean_e2e_ms": 300.0,
        "slope": 1.0,
        "slope_low": 0.99,
        "slope_high": 1.01,
        "quantiles": (
            Quantile(metric="e2e", percentile=95.0, value_ms=value, low_ms=low, high_ms=high),
            Quantile(metric="lag", percentile=99.0, value_ms=lag),
        ),
    }
    return Measurement(**(facts | changes))


def test_pass_with_margins() -> None:
    found = judge_open(SLO, _measured(), METHOD)
    assert found.verdict == "pass"
    assert found.margins["p95(e2e) <= 500 ms"] == pytest.approx(0.2)
    assert found.margins["slope"] == pytest.approx(1 - 1 / 1.05)
    assert "across" not in found.reason


def test_a_limit_may_be_reached() -> None:
    assert judge_open(SLO, _measured(value=500.0), METHOD).verdict == "pass"
    assert judge_open(SLO, _measured(value=500.1, high=600.0), METHOD).verdict == "fail"


def test_the_point_decides_and_the_reason_tells_of_the_interval() -> None:
    within = judge_open(SLO, _measured(high=520.0), METHOD)
    assert within.verdict == "pass"
    assert "95 % interval 380 to 520 ms: reaches across" in within.reason
    unbounded = judge_open(SLO, _measured(high=None), METHOD)
    assert "380 to ? ms: too few requests to bound it" in unbounded.reason
    above = judge_open(SLO, _measured(value=510.0, low=490.0, high=530.0), METHOD)
    assert above.verdict == "fail"
    assert "490 to 530 ms: reaches across" in above.reason
    surely = judge_open(SLO, _measured(value=600.0, low=550.0, high=700.0), METHOD)
    assert surely.verdict == "fail"
    assert "across" not in surely.reason


def test_backlog_fails_also_where_no_slo_is_asked() -> None:
    grows = _measured(slope=1.2, slope_low=1.1, slope_high=1.3)
    for slo in (SLO, NO_SLO):
        found = judge_open(slo, grows, METHOD)
        assert found.verdict == "fail"
        assert "slope 1.200 > 1.05" in found.reason
    assert judge_open(NO_SLO, _measured(slope=1.04), METHOD).verdict == "pass"
    unsure = judge_open(NO_SLO, _measured(slope=1.04, slope_high=1.08), METHOD)
    assert unsure.verdict == "pass"
    assert "reaches across" in unsure.reason


def test_all_bounds_must_hold() -> None:
    both = Slo.parse(["p95(e2e) <= 500 ms", "p95(e2e) <= 390 ms"])
    found = judge_open(both, _measured(), METHOD)
    assert found.verdict == "fail"
    assert "390" in found.reason
    assert "500" not in found.reason


def test_client_lag_voids_before_anything_else() -> None:
    found = judge_open(SLO, _measured(value=900.0, lag=51.0, failed=100, completed=200), METHOD)
    assert found.verdict == "void"
    assert "lag 51 ms > 50 ms" in found.reason


def test_failed_requests() -> None:
    few = _measured(completed=297, failed=3, error_sample="HTTP 500: oh")
    assert judge_open(SLO, few, METHOD).verdict == "pass"
    many = _measured(completed=296, failed=4, error_sample="HTTP 500: oh")
    found = judge_open(SLO, many, METHOD)
    assert found.verdict == "fail"
    assert "4 of 300" in found.reason
    assert "HTTP 500" in found.reason
    assert judge_open(SLO, many, METHOD, broken=4).verdict == "void"
    assert judge_open(SLO, many, METHOD, broken=3).verdict == "fail"


def test_too_few_completed() -> None:
    few = _measured(requests=19, completed=19, value=900.0)
    assert judge_open(SLO, few, METHOD).verdict == "inconclusive"


def test_a_run_that_is_over_within_a_few_latencies_proves_nothing() -> None:
    short = _measured(offered_rps=200.0)  # 1.5 s of arrivals, five mean latencies
    assert judge_open(NO_SLO, short, METHOD).verdict == "pass"
    shorter = _measured(offered_rps=201.0)
    assert judge_open(NO_SLO, shorter, METHOD).verdict == "inconclusive"
    broken = _measured(offered_rps=201.0, value=900.0, low=800.0, high=None)
    assert judge_open(SLO, broken, METHOD).verdict == "fail"


def test_what_was_not_measured_is_not_passed() -> None:
    tpot = Slo.parse(["p50(tpot) <= 10 ms"])
    assert judge_open(tpot, _measured(), METHOD).verdict == "inconclusive"
    assert judge_closed(tpot, _closed()).verdict == "inconclusive"
    assert judge_open(NO_SLO, _measured(slope=None), METHOD).verdict == "inconclusive"


def _closed(**changes: Any) -> Measurement:
    facts = {"requests": 10, "completed": 10, "offered_rps": None, "slope": None}
    return _measured(**(facts | changes))


def test_closed_loop_has_no_slope_test_and_no_minimum() -> None:
    assert judge_closed(SLO, _closed(slope=3.0)).verdict == "pass"
    assert judge_closed(NO_SLO, _closed()).verdict == "pass"


def test_closed_loop_rejects_only_what_is_sure() -> None:
    sure = judge_closed(SLO, _closed(value=700.0, low=600.0, high=None))
    assert sure.verdict == "fail"
    assert sure.margins["p95(e2e) <= 500 ms"] == pytest.approx(-0.4)
    straggler = judge_closed(SLO, _closed(value=700.0, low=390.0, high=None))
    assert straggler.verdict == "inconclusive"


def test_failed_requests_void_the_closed_loop() -> None:
    failed = _closed(completed=9, failed=1, error_sample="HTTP 500: oh", value=900.0, low=800.0)
    assert judge_closed(SLO, failed).verdict == "void"
    nothing = _closed(completed=0, failed=10, quantiles=(), mean_e2e_ms=0.0)
    assert judge_closed(NO_SLO, nothing).verdict == "void"
