"""The talk's search against servers whose capacity is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.doubling import DoublingSearch
from optikit.core.search import (
    CERTIFIED_REQUESTS,
    CLOSED_REQUESTS,
    ProbeRequest,
    Question,
    RateSearch,
)
from optikit.spec.job import MethodChoice
from optikit.spec.record import Measurement, Probe, RateResult, Verdict
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload

WORKLOAD = Workload()
IDLE_S = 0.5
"""Latency without queueing: phase 2 starts at 2 requests per second."""

Judge = Callable[[ProbeRequest], Verdict]


def _probe(request: ProbeRequest, verdict: Verdict, mean_s: float = IDLE_S) -> Probe:
    measurement = Measurement(
        requests=request.requests,
        completed=request.requests,
        failed=0,
        offered_rps=request.rate_rps,
        achieved_rps=1.0,
        output_tokens_per_s=1.0,
        total_tokens_per_s=1.0,
        duration_s=1.0,
        quantiles=(),
        mean_e2e_ms=1e3 * mean_s,
    )
    return Probe(
        number=request.number,
        phase=request.phase,
        concurrency=request.concurrency,
        rate_rps=request.rate_rps,
        verdict=verdict,
        reason=f"told {verdict}",
        measurement=measurement,
    )


def _search(start_rps: float | None = None, **method: Any) -> DoublingSearch:
    choice = MethodChoice(name="doubling", **method)
    return DoublingSearch(Question(choice, WORKLOAD, Slo(), start_rps))


def _run(search: RateSearch, judge: Judge) -> RateResult:
    while (request := search.ask()) is not None:
        search.tell(_probe(request, "void" if request.phase == "warmup" else judge(request)))
    return search.result()


def _capacity(rps: float) -> Judge:
    return lambda request: "pass" if (request.rate_rps or 0.0) <= rps else "fail"


def _open_rates(result: RateResult) -> list[float]:
    return [probe.rate_rps for probe in result.probes if probe.rate_rps is not None]


def test_the_talks_walk() -> None:
    result = _run(_search(rate_tolerance=0.2), _capacity(7.3))
    assert [probe.phase for probe in result.probes[:3]] == ["warmup", "closed", "open"]
    assert _open_rates(result) == [2.0, 4.0, 8.0, 6.0, 7.0]
    assert result.outcome == "pass"
    assert (result.rate_rps, result.rate_low_rps, result.rate_high_rps) == (7.0, 7.0, 8.0)
    assert result.requests == 8 + 10 + 5 * 300
    assert result.requests_at_rate == 300
    assert result.preliminary
    assert result.reason.startswith("7 req/s passed (told pass); 8 req/s failed (told fail)")


def test_a_fail_at_the_start_goes_to_the_middle_of_nothing_and_the_fail() -> None:
    result = _run(_search(start_rps=16.0, rate_tolerance=0.2), _capacity(3.3))
    assert _open_rates(result) == [16.0, 8.0, 4.0, 2.0, 3.0, 3.5]
    assert (result.rate_rps, result.rate_high_rps) == (3.0, 3.5)


def test_probe_requests() -> None:
    search = _search(warmup_requests=5, requests_per_probe=40)
    first = search.ask()
    assert first is not None
    assert search.ask() == first
    assert (first.number, first.phase, first.requests, first.concurrency) == (1, "warmup", 5, 5)
    search.tell(_probe(first, "void"))
    second = search.ask()
    assert second is not None
    assert (second.phase, second.requests, second.concurrency) == ("closed", CLOSED_REQUESTS, 1)
    search.tell(_probe(second, "pass"))
    third = search.ask()
    assert third is not None
    assert (third.phase, third.requests, third.concurrency, third.rate_rps) == (
        "open",
        40,
        None,
        2.0,
    )


def test_no_warm_up_where_none_is_asked() -> None:
    first = _search(warmup_requests=0).ask()
    assert first is not None
    assert first.phase == "closed"


def test_infeasible_at_once_without_queueing() -> None:
    result = _run(_search(), lambda request: "fail")
    assert (result.outcome, result.rate_rps, len(result.probes)) == ("infeasible", None, 2)
    assert result.reason == "told fail"


def test_a_closed_loop_that_cannot_tell_leaves_it_to_the_open_loop() -> None:
    def judge(request: ProbeRequest) -> Verdict:
        return "inconclusive" if request.phase == "closed" else _capacity(3.0)(request)

    assert _run(_search(), judge).outcome == "pass"


def test_infeasible_below_the_floor() -> None:
    result = _run(_search(), lambda request: "fail" if request.rate_rps else "pass")
    assert result.outcome == "infeasible"
    assert _open_rates(result) == [2.0, 1.0, 0.5, 0.25, 0.125]
    assert result.rate_high_rps == 0.125


def test_void_is_repeated_once_and_then_ends() -> None:
    for phase, count in (("closed", 3), ("open", 4)):
        result = _run(_search(), lambda r, p=phase: "void" if r.phase == p else "pass")  # type: ignore[misc]
        assert (result.outcome, len(result.probes)) == ("inconclusive", count)
        assert "told void" in result.reason


def test_void_once_costs_one_probe() -> None:
    def judge(request: ProbeRequest) -> Verdict:
        return "void" if request.number == 3 else _capacity(7.3)(request)

    result = _run(_search(rate_tolerance=0.2), judge)
    assert _open_rates(result) == [2.0, 2.0, 4.0, 8.0, 6.0, 7.0]
    assert result.rate_rps == 7.0


def test_no_answer_above_a_pass_is_a_ceiling_but_no_fail() -> None:
    def judge(request: ProbeRequest) -> Verdict:
        return "void" if (request.rate_rps or 0) > 5 else "pass"

    result = _run(_search(rate_tolerance=0.2), judge)
    assert _open_rates(result) == [2.0, 4.0, 8.0, 8.0, 6.0, 6.0, 5.0, 5.5, 5.5]
    assert (result.outcome, result.rate_rps, result.rate_high_rps) == ("pass", 5.0, None)
    assert "no rate failed" in result.reason
    assert "5.5 req/s gave no answer twice" in result.reason


def test_inconclusive_is_repeated_with_twice_the_requests() -> None:
    def judge(request: ProbeRequest) -> Verdict:
        if request.rate_rps == 4.0 and request.requests < 600:
            return "inconclusive"
        return _capacity(4.5)(request)

    result = _run(_search(), judge)
    assert [p.measurement.requests for p in result.probes if p.rate_rps == 4.0] == [300, 600]
    assert result.rate_rps == pytest.approx(4.5, rel=0.05)


def test_probes_grow_with_what_is_in_flight() -> None:
    search = _search(requests_per_probe=60)
    sizes = {}
    while (request := search.ask()) is not None and (request.rate_rps or 0) <= 32:
        sizes[request.rate_rps] = request.requests
        search.tell(_probe(request, "pass", mean_s=0.5 if (request.rate_rps or 0) < 8 else 2.0))
    # arrivals last for five times twice the latency of the rate below
    assert [sizes[r] for r in (2.0, 4.0, 8.0, 16.0, 32.0)] == [60, 60, 60, 320, 640]


def test_a_lower_fail_drops_a_higher_pass() -> None:
    search = _search(warmup_requests=0, rate_tolerance=0.5)
    _run_until_open(search)
    told: list[tuple[float, Verdict]] = [(4.0, "pass"), (2.0, "pass"), (3.0, "fail")]
    for rate, verdict in told:
        search.tell(_probe(ProbeRequest(9, "open", 1200, 0, rate_rps=rate), verdict))
    result = search.result()
    assert (result.rate_rps, result.rate_high_rps) == (2.0, 3.0)
    assert "4 req/s had passed before a rate as low failed, and is dropped" in result.reason
    assert not result.preliminary
    assert result.requests_at_rate == 1200


def _run_until_open(search: DoublingSearch) -> None:
    while (request := search.ask()) is not None and request.phase != "open":
        search.tell(_probe(request, "pass"))


def test_a_rate_that_failed_last_is_not_certified() -> None:
    search = _search(warmup_requests=0)
    _run_until_open(search)
    told: list[Verdict] = ["pass", "fail"]
    for verdict in told:
        search.tell(_probe(ProbeRequest(9, "open", 300, 0, rate_rps=2.0), verdict))
    assert search.result().rate_rps is None
    assert search.result().outcome == "inconclusive"
    request = search.ask()
    assert request is not None
    assert request.rate_rps == 1.0


def test_certified_from_a_thousand_requests() -> None:
    few = _run(_search(requests_per_probe=CERTIFIED_REQUESTS - 1), _capacity(3.0))
    many = _run(_search(requests_per_probe=CERTIFIED_REQUESTS), _capacity(3.0))
    assert few.preliminary
    assert not many.preliminary


def test_max_probes() -> None:
    result = _run(_search(max_probes=5), _capacity(1e9))
    assert len(result.probes) == 5
    assert (result.outcome, result.rate_rps, result.rate_high_rps) == ("pass", 8.0, None)
    assert "max_probes (5) are used up" in result.reason
    none = _run(_search(max_probes=2), _capacity(1e9))
    assert (none.outcome, none.rate_rps) == ("inconclusive", None)


def test_stopped_from_outside() -> None:
    search = _search()
    _run_until_open(search)
    assert search.result("out of time").outcome == "inconclusive"
    request = search.ask()
    assert request is not None
    search.tell(_probe(request, "pass"))
    result = search.result("out of time")
    assert (result.outcome, result.rate_rps) == ("pass", 2.0)
    assert result.reason.endswith("the search stopped: out of time")


def test_a_retold_search_goes_on_where_it_was() -> None:
    whole = _run(_search(), _capacity(7.3))
    again = _search()
    for probe in whole.probes[:5]:
        again.tell(Probe.model_validate_json(probe.model_dump_json()))
    assert _run(again, _capacity(7.3)) == whole


@given(
    capacity=st.floats(0.2, 2_000),
    start=st.none() | st.floats(0.05, 500),
    tolerance=st.floats(0.01, 0.5),
)
def test_brackets_the_capacity_where_probes_are_free_of_noise(
    capacity: float, start: float | None, tolerance: float
) -> None:
    search = _search(start, rate_tolerance=tolerance, max_probes=60)
    result = _run(search, _capacity(capacity))
    assert len(result.probes) < 60
    assert result.rate_high_rps is not None
    assert result.rate_high_rps > capacity
    if result.outcome == "pass":
        assert result.rate_rps is not None
        assert result.rate_rps <= capacity
        assert (result.rate_high_rps - result.rate_rps) / result.rate_rps < tolerance
    else:
        assert result.outcome == "infeasible"
        assert capacity < min(1 / IDLE_S, start or math.inf) / 8


@given(st.integers(0, 2**32), st.integers(2, 40), st.none() | st.floats(0.1, 50))
def test_any_answers_at_all(seed: int, max_probes: int, start: float | None) -> None:
    rng = np.random.default_rng(seed)
    kinds: list[Verdict] = ["pass", "fail", "void", "inconclusive"]
    search = _search(start, max_probes=max_probes)
    result = _run(search, lambda request: kinds[rng.choice(4, p=[0.45, 0.35, 0.1, 0.1])])
    assert len(result.probes) <= max_probes
    assert [probe.number for probe in result.probes] == list(range(1, len(result.probes) + 1))
    failed = [probe.rate_rps for probe in result.probes if probe.verdict == "fail"]
    passed = [probe.rate_rps for probe in result.probes if probe.verdict == "pass"]
    assert (result.outcome == "pass") == (result.rate_rps is not None)
    if result.rate_rps is not None:
        assert result.rate_rps in passed
        assert all(rate is None or rate > result.rate_rps for rate in failed)
    RateResult.model_validate_json(result.model_dump_json())
