"""The loop, against a queue in virtual time: no network, no waiting."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from optikit.core.rate import rate_search
from optikit.errors import BudgetExceeded, EngineDied
from optikit.loadgen.find_rate import MIN_TIMEOUT_S, find_rate
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.record import Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.timing import PlannedRequest, RequestTiming
from optikit.spec.workload import Workload

ENDPOINT = Endpoint(base_url="http://127.0.0.1:1", model="m", vocab=1000)
WORKLOAD = Workload(prompt_tokens=8, output_tokens=4)
SLO = Slo.parse(["p95(e2e) <= 2 s"])
METHOD = MethodChoice(requests_per_probe=400, max_probes=20)


@dataclass
class Queue:
    """First come, first served: ``slots`` requests at a time, ``service_s`` each."""

    slots: int = 4
    service_s: float = 0.5
    open_service_s: float | None = None
    """Service time from the third run on, where it differs."""
    fault: Callable[[int, RequestTiming], str | None] = lambda run, timing: None
    name: str = "queue"
    now_s: float = 100.0
    runs: list[tuple[int | None, float]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now_s

    def run(
        self,
        endpoint: Endpoint,
        requests: Sequence[PlannedRequest],
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
    ) -> list[RequestTiming]:
        self.runs.append((concurrency, timeout_s))
        if len(self.runs) > 2 and self.open_service_s is not None:
            self.service_s = self.open_service_s
        free = [0.0] * self.slots
        clients = [0.0] * (concurrency or 0)
        timings = []
        for request in requests:
            at = heapq.heappop(clients) if concurrency else request.at_s
            timing = RequestTiming(request.index, at)
            timing.error = self.fault(len(self.runs), timing)
            end = at
            if timing.error is None:
                begin = max(at, heapq.heappop(free))
                end = begin + self.service_s
                heapq.heappush(free, end)
                timing.sent_s, timing.first_token_s, timing.end_s = at, begin + 0.1, end
                timing.prompt_tokens, timing.output_tokens = 8, request.output_tokens
            if end > timeout_s:
                timing.end_s, timing.error = None, f"not finished in {timeout_s:.0f} s"
            if concurrency:
                heapq.heappush(clients, end)
            timings.append(timing)
        ends = [min(t.end_s or timeout_s, timeout_s) for t in timings if not self.fault(0, t)]
        self.now_s += max(ends, default=0.1)
        return timings


@dataclass
class Run:
    """What one search did."""

    result: RateResult
    kept: list[tuple[Probe, list[RequestTiming]]]


def _find(
    queue: Queue,
    slo: Slo = SLO,
    method: MethodChoice = METHOD,
    check: Callable[[], None] = lambda: None,
    remaining_s: Callable[[], float] = lambda: 1e9,
    kept: list[tuple[Probe, list[RequestTiming]]] | None = None,
) -> Run:
    kept = [] if kept is None else kept

    def on_probe(probe: Probe, timings: list[RequestTiming]) -> str:
        kept.append((probe, timings))
        return f"probe-{probe.number:02d}.jsonl"

    result = find_rate(
        rate_search(method, WORKLOAD, slo),
        queue,
        ENDPOINT,
        WORKLOAD,
        slo,
        method,
        on_probe=on_probe,
        check=check,
        remaining_s=remaining_s,
        clock=queue.clock,
    )
    return Run(result, kept)


def test_finds_the_rate_of_a_queue() -> None:
    # 8 requests a second is the capacity; p95 of the wait stays below 1.5 s until close to it
    found = _find(Queue())
    assert found.result.outcome == "pass"
    assert found.result.rate_rps is not None
    assert 6.5 < found.result.rate_rps < 8.4
    assert found.result.rate_high_rps is not None
    assert found.result.rate_high_rps < 1.05 * found.result.rate_rps + 1e-9
    phases = [probe.phase for probe in found.result.probes]
    assert phases[:2] == ["warmup", "closed"]
    assert set(phases[2:]) == {"open"}


def test_without_slo_the_slope_finds_the_capacity() -> None:
    method = METHOD.model_copy(update={"requests_per_probe": 1500})
    found = _find(Queue(), Slo(), method)
    assert found.result.rate_rps == pytest.approx(8.0, rel=0.1)
    assert not found.result.preliminary


def test_every_probe_is_kept_with_its_raw_timings() -> None:
    found = _find(Queue())
    assert [probe.raw for probe in found.result.probes] == [
        f"probe-{n:02d}.jsonl" for n in range(1, len(found.kept) + 1)
    ]
    for probe, (kept, timings) in zip(found.result.probes, found.kept, strict=True):
        assert probe.model_copy(update={"raw": None}) == kept
        assert len(timings) == probe.measurement.requests


def test_an_slo_below_the_service_time_is_infeasible_after_two_probes() -> None:
    found = _find(Queue(), Slo.parse(["p50(e2e) <= 400 ms"]))
    assert (found.result.outcome, len(found.result.probes)) == ("infeasible", 2)
    assert "p50(e2e) 500 ms > 400 ms" in found.result.reason


def test_deadlines_follow_the_plan() -> None:
    queue = Queue(service_s=2.0)
    found = _find(queue, Slo.parse(["p95(e2e) <= 8 s"]))
    (warm_concurrency, warm), (closed_concurrency, closed), *opened = queue.runs
    assert (warm_concurrency, closed_concurrency) == (8, 1)
    assert warm > MIN_TIMEOUT_S
    assert closed == pytest.approx(4 * 10 * 3.0)  # eight at once on four slots: 3 s on average
    first = found.kept[2][1]
    assert opened[0][0] is None
    assert opened[0][1] == pytest.approx(4 * (first[-1].scheduled_s + 2.0))


def test_a_hopeless_rate_is_cut_and_fails() -> None:
    queue = Queue(slots=1, service_s=0.05, open_service_s=5.0)
    began = queue.now_s
    found = _find(queue, SLO, METHOD.model_copy(update={"max_probes": 3}))
    last = found.result.probes[-1]
    assert last.verdict == "fail"
    assert "not finished in" in last.reason
    assert queue.now_s - began < 4 * (400 / 20 + 5) + 60  # served to its end: 2000 s


def test_a_dead_server_is_an_error_and_the_probe_is_kept() -> None:
    def fault(run: int, timing: RequestTiming) -> str | None:
        return "connection refused" if run == 3 and timing.scheduled_s > 5 else None

    def check() -> None:
        raise EngineDied("the server ended with signal 9")

    kept: list[tuple[Probe, list[RequestTiming]]] = []
    with pytest.raises(EngineDied, match="signal 9"):
        _find(Queue(fault=fault), check=check, kept=kept)
    assert len(kept) == 3
    assert kept[-1][0].measurement.failed > 0


def test_failures_of_a_living_server_fail_the_probe() -> None:
    def fault(run: int, timing: RequestTiming) -> str | None:
        return "HTTP 500: oh" if run == 5 and timing.index % 10 == 0 else None

    probe = _find(Queue(fault=fault)).result.probes[4]
    assert probe.verdict == "fail"
    assert "40 of 400 requests failed (HTTP 500: oh)" in probe.reason


def test_a_server_that_answers_nothing_has_died_whatever_its_process_says() -> None:
    with pytest.raises(EngineDied, match="answered none of 8 requests"):
        _find(Queue(fault=lambda run, timing: "not finished in 30 s"))


def test_broken_requests_are_no_verdict_on_the_server() -> None:
    found = _find(Queue(fault=lambda run, timing: "HTTP 400: prompt too long"))
    assert found.result.outcome == "inconclusive"
    assert [probe.verdict for probe in found.result.probes] == ["void"] * 3
    assert "HTTP 400: prompt too long" in found.result.reason


def test_a_probe_that_does_not_fit_into_the_time_is_not_begun() -> None:
    method = METHOD.model_copy(update={"max_search_s": 400.0})
    queue = Queue()
    began = queue.now_s
    found = _find(queue, SLO, method)
    whole = _find(Queue())
    assert len(found.result.probes) < len(whole.result.probes)
    assert queue.now_s - began <= 400.0
    assert found.result.outcome == "pass"
    assert "the search stopped" in found.result.reason
    assert "are left, the next probe needs" in found.result.reason


def test_a_probe_cut_because_time_is_up_decides_nothing() -> None:
    queue = Queue(open_service_s=4.0)
    found = _find(queue, SLO, METHOD.model_copy(update={"max_search_s": 230.0}))
    last = found.result.probes[-1]
    assert (last.phase, last.verdict) == ("open", "inconclusive")
    assert "time is up" in last.reason
    assert found.result.outcome == "inconclusive"


def test_the_jobs_budget_ends_it() -> None:
    def gone() -> float:
        raise BudgetExceeded("no time")

    with pytest.raises(BudgetExceeded):
        _find(Queue(), remaining_s=gone)
    queue = Queue()
    found = _find(queue, remaining_s=lambda: 300.0 - (queue.now_s - 100.0))
    assert queue.now_s <= 400.0
    assert "the search stopped" in found.result.reason
