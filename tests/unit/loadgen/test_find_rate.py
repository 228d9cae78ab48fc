"""The loop, against a queue in virtual time: no network, no waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from optikit.core.evidence import known_prefix
from optikit.core.load import Load
from optikit.core.metrics import measure
from optikit.core.rate import RateSearch, rate_search, verification
from optikit.core.search import ProbeRequest
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement
from optikit.errors import BudgetExceeded, EngineDied
from optikit.loadgen.base import Watch
from optikit.loadgen.find_rate import CUT_FACTOR, MIN_TIMEOUT_S, SETTLE_S, find_rate
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.record import Measurement, Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload
from tests.faulty_queue import FaultyQueue
from tests.probes import found as made_up

ENDPOINT = Endpoint(base_url="http://127.0.0.1:1", model="m", vocab=1000)
WORKLOAD = Workload.parse({"prompt_tokens": 8, "output_tokens": 4})
SLO = Slo.parse(["p95(e2e) <= 2 s"])
TIGHT = Slo.parse(["p95(e2e) <= 1 s"])
METHOD = MethodChoice(name="doubling", requests_per_probe=400, max_probes=20)


@dataclass
class Run:
    """What one search did."""

    result: RateResult
    kept: list[tuple[Probe, Timings]]


def _find(
    queue: FaultyQueue,
    slo: Slo = SLO,
    method: MethodChoice = METHOD,
    check: Callable[[], None] = lambda: None,
    remaining_s: Callable[[], float] = lambda: 1e9,
    kept: list[tuple[Probe, Timings]] | None = None,
    search: RateSearch | None = None,
) -> Run:
    kept = [] if kept is None else kept

    def on_probe(probe: Probe, timings: Timings) -> str:
        kept.append((probe, timings))
        return f"probe-{probe.number:02d}.jsonl"

    result = find_rate(
        search or rate_search(method, WORKLOAD, slo, max_num_seqs=queue.slots),
        queue,
        ENDPOINT,
        WORKLOAD,
        slo,
        method,
        on_probe=on_probe,
        check=check,
        remaining_s=remaining_s,
    )
    return Run(result, kept)


# ---- both methods find the rate of a queue


def test_doubling_finds_the_rate_of_a_queue() -> None:
    # 8 requests a second is the capacity; p95 of the wait stays below 1.5 s until close to it
    found = _find(FaultyQueue())
    assert found.result.outcome == "pass"
    assert found.result.rate_rps is not None
    assert 6.5 < found.result.rate_rps < 8.4
    assert found.result.rate_high_rps is not None
    assert found.result.rate_high_rps < 1.05 * found.result.rate_rps + 1e-9
    phases = [probe.phase for probe in found.result.probes]
    assert phases[:2] == ["warmup", "closed"]
    assert set(phases[2:]) == {"open"}


def test_adjusted_finds_and_certifies_the_rate_of_a_queue() -> None:
    found = _find(FaultyQueue(), TIGHT, MethodChoice())  # a long run: 5.75 req/s
    assert (found.result.outcome, found.result.preliminary) == ("pass", False)
    assert found.result.rate_rps is not None
    assert 0.9 * 5.75 < found.result.rate_rps < 1.01 * 5.75
    assert found.result.saturation_rps == pytest.approx(8.0, rel=0.03)
    assert found.result.probes[-1].phase == "certify"


def test_without_slo_the_slope_finds_the_capacity() -> None:
    method = METHOD.model_copy(update={"requests_per_probe": 1500})
    found = _find(FaultyQueue(), Slo(), method)
    assert found.result.rate_rps == pytest.approx(8.0, rel=0.1)
    assert not found.result.preliminary


def test_every_probe_is_kept_with_its_raw_timings() -> None:
    found = _find(FaultyQueue())
    assert [probe.raw for probe in found.result.probes] == [
        f"probe-{n:02d}.jsonl" for n in range(1, len(found.kept) + 1)
    ]
    for probe, (kept, timings) in zip(found.result.probes, found.kept, strict=True):
        assert probe.model_copy(update={"raw": None}) == kept
        assert len(timings.measured()) == probe.measurement.requests


def test_an_slo_below_the_service_time_is_infeasible_after_two_probes() -> None:
    for method in (METHOD, MethodChoice()):
        found = _find(FaultyQueue(), Slo.parse(["p50(e2e) <= 400 ms"]), method)
        assert (found.result.outcome, len(found.result.probes)) == ("infeasible", 2)
        assert "p50(e2e) 500 ms > 400 ms" in found.result.reason


def test_tokens_are_kept_only_where_the_slo_bounds_their_gaps() -> None:
    plain, gaps = FaultyQueue(), FaultyQueue()
    _find(plain, method=METHOD.model_copy(update={"max_probes": 3}))
    assert not any(plain.kept_tokens)
    slo = Slo.parse(["p99(itl) <= 1 s"])
    _find(gaps, slo, METHOD.model_copy(update={"max_probes": 3}))
    assert all(gaps.kept_tokens)


# ---- deadlines and early stops


def test_deadlines_follow_the_plan() -> None:
    queue = FaultyQueue(service_s=2.0)
    found = _find(queue, Slo.parse(["p95(e2e) <= 8 s"]))
    (warm_concurrency, warm), (closed_concurrency, closed), *opened = queue.runs
    assert (warm_concurrency, closed_concurrency) == (8, 1)
    assert warm > MIN_TIMEOUT_S
    assert closed == pytest.approx(CUT_FACTOR * 10 * 3.0)  # eight on four slots: 3 s on average
    first = found.kept[2][1]
    assert opened[0][0] is None
    assert opened[0][1] == pytest.approx(CUT_FACTOR * (first.scheduled_s[-1] + 2.0))


def test_a_hopeless_rate_is_cut_and_fails() -> None:
    queue = FaultyQueue(slots=1, service_s=0.05, open_service_s=5.0)
    began = queue.now_s
    found = _find(queue, SLO, METHOD.model_copy(update={"max_probes": 3}))
    last = found.result.probes[-1]
    assert last.verdict == "fail"
    assert "not finished in" in last.reason
    served_s = 400 * 5.0  # to its end
    assert queue.now_s - began < CUT_FACTOR * (400 / 20 + 5) + 60 + SETTLE_S < served_s


def test_after_a_cut_probe_the_server_is_waited_for() -> None:
    slow = FaultyQueue(slots=1, service_s=0.05, open_service_s=5.0)
    _find(slow, SLO, METHOD.model_copy(update={"max_probes": 3}))
    assert len(slow.runs) > 4  # single requests, until one is as fast as on the idle server
    assert all(concurrency == 1 for concurrency, _ in slow.runs[3:])
    mended = FaultyQueue(fault=lambda run, index, at: "HTTP 500: oh" if run == 3 else None)
    with pytest.raises(EngineDied):
        _find(mended)
    calm = FaultyQueue()
    found = _find(calm, SLO, METHOD.model_copy(update={"max_probes": 4}))
    assert len(calm.runs) == len(found.result.probes)  # nothing was cut: nothing to wait for


def test_a_server_that_falls_silent_is_a_dead_one() -> None:
    """Some answers came, then none, and none to a lone request for two minutes: it hangs."""

    def silent(run: int, index: int, at: float) -> str | None:
        return "not finished in 30 s" if run > 3 or (run == 3 and index > 20) else None

    with pytest.raises(EngineDied, match="not one lone request in 120 s: it hangs"):
        _find(FaultyQueue(fault=silent))


def test_a_server_that_refuses_at_once_is_not_called_silent() -> None:
    """Fifty refusals take no two minutes, and say nothing of the next probe."""

    def refused(run: int, index: int, at: float) -> str | None:
        return "HTTP 429: later" if 3 < run < 54 or (run == 3 and index > 20) else None

    found = _find(FaultyQueue(fault=refused))
    assert len(found.result.probes) > 3


def test_what_is_measured_is_what_is_kept() -> None:
    """A reader of the raw rows derives the very figures, to the last bit."""
    found = _find(FaultyQueue(service_s=0.3333333333))
    assert len(found.kept) > 3
    for probe, timings in found.kept:
        again = Timings.from_rows(json.loads(json.dumps(timings.rows())))
        for name in ("scheduled_s", "sent_s", "first_token_s", "end_s"):
            assert np.array_equal(getattr(again, name), getattr(timings, name), equal_nan=True)
        if probe.phase in ("warmup", "closed"):
            assert measure(again, SLO, probe.rate_rps) == probe.measurement


class _Fixed:
    """Asks for one open probe and watches it."""

    def __init__(self, requests: int, rate: float, stop_at: int) -> None:
        self.request = ProbeRequest(1, "open", requests, 7, rate_rps=rate, before=8, after=50)
        self.stop_at, self.looks = stop_at, 0
        self.told: list[tuple[Probe, Load | None, Timings | None]] = []

    def ask(self) -> ProbeRequest | None:
        return None if self.told else self.request

    def watch(self, request: ProbeRequest) -> Watch | None:
        def stop(timings: Timings) -> bool:
            self.looks += 1
            return self.looks >= self.stop_at

        return stop

    def judge(
        self, request: ProbeRequest, load: Load, timings: Timings, measurement: Measurement
    ) -> tuple[Judgement, Measurement]:
        return Judgement("fail", "stopped"), measurement

    def tell(self, probe: Probe, load: Load | None = None, timings: Timings | None = None) -> None:
        self.told.append((probe, load, timings))

    def result(self, stopped: str | None = None) -> RateResult:
        probes = tuple(told[0] for told in self.told)
        return made_up(outcome="inconclusive", rate_rps=None, probes=probes)


def test_a_probe_that_is_stopped_counts_what_is_known_from_its_first_request_on() -> None:
    search = _Fixed(400, 12.0, stop_at=4)
    _find(FaultyQueue(), search=search)
    ((probe, load, timings),) = search.told
    assert load is not None
    assert timings is not None
    assert (load.first, load.last) == (8, 408)
    part = timings.measured()
    now = float(np.nanmax([*part.end_s, *part.first_token_s, *part.sent_s]))
    # the whole measured part, then what of it was known at the last event
    whole = replace(timings, last=load.last).measured()
    assert len(part) == known_prefix(whole, SLO.bounds, now)
    assert 4 * 32 <= len(part) < 400
    assert probe.measurement.requests == len(part)
    assert probe.measurement.failed == 0
    # late ones are over their limit though they have not ended
    assert probe.measurement.bounds[0].over == int((~(part.end_s - part.sent_s <= 2.0)).sum())
    assert probe.measurement.completed < probe.measurement.requests


def test_an_overloaded_probe_of_the_default_method_ends_early_and_fails() -> None:
    queue = FaultyQueue()
    search = rate_search(MethodChoice(), WORKLOAD, TIGHT, start_rps=16.0)
    found = _find(queue, TIGHT, MethodChoice(), search=search)
    first = next(p for p in found.result.probes if p.phase == "open")
    assert (first.rate_rps, first.verdict) == (16.0, "fail")
    assert first.measurement.requests < 300
    assert found.result.outcome == "pass"
    assert found.result.rate_rps is not None
    assert 0.85 * 5.75 < found.result.rate_rps < 1.01 * 5.75


# ---- failures


def test_a_dead_server_is_an_error_and_the_probe_is_kept() -> None:
    def fault(run: int, index: int, at: float) -> str | None:
        return "connection refused" if run == 3 and at > 5 else None

    def check() -> None:
        raise EngineDied("the server ended with signal 9")

    for method in (METHOD, MethodChoice()):
        kept: list[tuple[Probe, Timings]] = []
        late = fault if method is METHOD else lambda run, index, at: fault(run, index, at + 6)
        with pytest.raises(EngineDied, match="signal 9"):
            _find(FaultyQueue(fault=late), method=method, check=check, kept=kept)
        assert len(kept) == 3
        assert kept[-1][0].measurement.failed > 0


def test_failures_of_a_living_server_fail_the_probe() -> None:
    def fault(run: int, index: int, at: float) -> str | None:
        return "HTTP 500: oh" if run == 5 and index % 10 == 0 else None

    probe = _find(FaultyQueue(fault=fault)).result.probes[4]
    assert probe.verdict == "fail"
    assert "40 of 400 requests failed (HTTP 500: oh)" in probe.reason


def test_a_server_that_answers_nothing_has_died_whatever_its_process_says() -> None:
    with pytest.raises(EngineDied, match="answered none of 8 requests"):
        _find(FaultyQueue(fault=lambda run, index, at: "not finished in 30 s"))


def test_broken_requests_are_no_verdict_on_the_server() -> None:
    for method in (METHOD, MethodChoice()):
        queue = FaultyQueue(fault=lambda run, index, at: "HTTP 400: prompt too long")
        found = _find(queue, method=method)
        assert found.result.outcome == "inconclusive"
        assert [probe.verdict for probe in found.result.probes] == ["void"] * 3
        assert "HTTP 400: prompt too long" in found.result.reason


# ---- time


@pytest.mark.parametrize("name", ["doubling", "adjusted"])
def test_a_probe_that_does_not_fit_into_the_time_is_not_begun(name: str) -> None:
    method = METHOD.model_copy(update={"name": name, "max_search_s": 400.0})
    if name == "adjusted":
        method = MethodChoice(max_search_s=300.0)
    queue = FaultyQueue()
    began = queue.now_s
    slo = TIGHT if name == "adjusted" else SLO
    found = _find(queue, slo, method)
    whole = _find(FaultyQueue(), slo, method.model_copy(update={"max_search_s": 3600.0}))
    assert len(found.result.probes) < len(whole.result.probes)
    assert queue.now_s - began <= method.max_search_s
    assert found.result.outcome in ("pass", "inconclusive")
    if not found.result.preliminary:  # adjusted keeps time to certify what it has
        assert name == "adjusted"
        assert found.result.probes[-1].phase == "certify"
        assert found.result.probes[-1].verdict == "pass"
    else:
        assert "the search stopped" in found.result.reason
        assert "are left, the next probe needs" in found.result.reason


def test_a_probe_cut_because_time_is_up_decides_nothing() -> None:
    queue = FaultyQueue(open_service_s=4.0)
    found = _find(queue, SLO, METHOD.model_copy(update={"max_search_s": 230.0}))
    last = found.result.probes[-1]
    assert (last.phase, last.verdict) == ("open", "inconclusive")
    assert "time is up" in last.reason
    assert found.result.outcome == "inconclusive"


def test_the_jobs_budget_ends_it() -> None:
    def gone() -> float:
        raise BudgetExceeded("no time")

    with pytest.raises(BudgetExceeded):
        _find(FaultyQueue(), remaining_s=gone)
    queue = FaultyQueue()
    found = _find(queue, remaining_s=lambda: 300.0 - (queue.now_s - 100.0))
    assert queue.now_s <= 400.0
    assert "the search stopped" in found.result.reason


# ---- one rate


def test_a_rate_is_verified_or_refuted() -> None:
    method = MethodChoice()
    for rate, outcome in ((5.0, "pass"), (9.0, "infeasible")):
        search = verification(method, WORKLOAD, TIGHT, rate, seed=5)
        found = _find(FaultyQueue(), TIGHT, method, search=search)
        assert found.result.outcome == outcome
        assert {p.rate_rps for p in found.result.probes if p.rate_rps} == {rate}
        assert [p.phase for p in found.result.probes[:2]] == ["warmup", "closed"]
