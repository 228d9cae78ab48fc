"""Verdicts, one rule a test."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.core.verdict import (
    LAG_SHARE,
    client_late,
    gross_lag,
    judge_closed,
    judge_evidence,
    judge_open,
)
from optikit.spec.job import MethodChoice
from optikit.spec.record import BoundEvidence, Measurement, Quantile
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
    both = Slo.parse(["p95(e2e) <= 500 ms", "p50(ttft) <= 90 ms"])
    measured = _measured()
    ttft = Quantile(metric="ttft", percentile=50.0, value_ms=95.0, low_ms=91.0, high_ms=99.0)
    measured = measured.model_copy(update={"quantiles": (*measured.quantiles, ttft)})
    found = judge_open(both, measured, METHOD)
    assert found.verdict == "fail"
    assert found.reason == "p50(ttft) 95 ms > 90 ms"


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


# ---- by intervals


def _seen(share: float, low: float, high: float, **changes: Any) -> Measurement:
    seen = BoundEvidence(
        bound="p95(e2e) <= 500 ms",
        allowed=0.05,
        counted=300,
        over=round(300 * share),
        share=share,
        low=low,
        high=high,
        effective=200,
    )
    return _measured(**({"bounds": (seen,)} | changes))


def test_intervals_decide() -> None:
    passed = judge_evidence(SLO, _seen(0.02, 0.01, 0.05), METHOD)
    assert passed.verdict == "pass"
    assert passed.margins["p95(e2e) <= 500 ms"] == pytest.approx(0.6)
    assert "2.00% over it (1.00% to 5.00%), 5 % allowed" in passed.reason
    assert judge_evidence(SLO, _seen(0.02, 0.01, 0.06), METHOD).verdict == "inconclusive"
    assert judge_evidence(SLO, _seen(0.07, 0.04, 0.10), METHOD).verdict == "inconclusive"
    assert judge_evidence(SLO, _seen(0.08, 0.051, 0.10), METHOD).verdict == "fail"


def test_a_closed_loop_that_only_points_the_way_passes_unless_it_surely_failed() -> None:
    assert judge_evidence(SLO, _seen(0.07, 0.04, 0.3), METHOD, scan=True).verdict == "pass"
    assert judge_evidence(SLO, _seen(0.17, 0.06, 0.3), METHOD, scan=True).verdict == "fail"
    assert judge_evidence(NO_SLO, _measured(slope=None), METHOD, scan=True).verdict == "pass"


def test_a_backlog_that_surely_grows_fails_whatever_the_bounds_say() -> None:
    held = {"share": 0.0, "low": 0.0, "high": 0.01}
    grows = _seen(**held, slope=1.2, slope_low=1.1, slope_high=1.3)
    found = judge_evidence(SLO, grows, METHOD)
    assert found.verdict == "fail"
    assert "the backlog grows" in found.reason
    maybe = _seen(**held, slope=1.1, slope_low=1.0, slope_high=1.2)
    assert judge_evidence(SLO, maybe, METHOD).verdict == "inconclusive"
    assert judge_evidence(NO_SLO, _measured(slope=1.04, slope_low=1.0), METHOD).verdict == "pass"
    assert judge_evidence(NO_SLO, _measured(slope=None), METHOD).verdict == "inconclusive"


def test_lag_counts_where_it_is_large_against_the_limits_at_stake() -> None:
    most = LAG_SHARE * 500  # as large as the method's own 50 ms
    fine, late = _seen(0.0, 0.0, 0.01, lag=most), _seen(0.0, 0.0, 0.01, lag=most + 1)
    assert client_late(fine, METHOD) is None
    assert not gross_lag(fine, METHOD)
    assert gross_lag(late, METHOD)
    assert judge_evidence(SLO, fine, METHOD).verdict == "pass"
    found = judge_evidence(SLO, late, METHOD)
    assert found.verdict == "void"
    assert "the client sent late" in found.reason
    tight = fine.bounds[0].model_copy(update={"bound": "p50(ttft) <= 50 ms"})
    said = client_late(fine.model_copy(update={"bounds": (tight,)}), METHOD)
    assert said == "the client sent late: p99 lag 50 ms, up to 5 ms would do"
    assert client_late(_measured(quantiles=()), METHOD) is None


def test_failures_come_before_intervals() -> None:
    held = _seen(0.0, 0.0, 0.01, failed=4, completed=296, error_sample="HTTP 500: oh")
    assert judge_evidence(SLO, held, METHOD).verdict == "fail"
    assert judge_evidence(SLO, held, METHOD, broken=4).verdict == "void"
    few = held.model_copy(update={"failed": 3, "completed": 297})
    assert judge_evidence(SLO, few, METHOD).verdict == "pass"
