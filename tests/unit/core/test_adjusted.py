"""The default search as a machine: what it asks for, and that it ends whatever it is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optikit.core.adjusted import MOST_CERTIFY
from optikit.core.load import Load
from optikit.core.metrics import measure
from optikit.core.rate import verification
from optikit.core.search import CLOSED_REQUESTS, ProbeRequest
from optikit.core.sizing import FEWEST, LARGER, MOST
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement
from optikit.spec.job import MethodChoice
from optikit.spec.record import Phase, Probe, RateResult
from optikit.spec.slo import Slo
from tests.unit.core.adjusted_case import ITL, P95, search, told
from tests.unit.core.queue_case import WORKLOAD, Queue, drive, load_of, probe_of

pytestmark = pytest.mark.usefixtures("short_law")


def phases(result: RateResult) -> list[str]:
    """Each phase once, in the order of its first probe."""
    return list(dict.fromkeys(probe.phase for probe in result.probes))


# ---- the walk


def test_the_walk_with_an_slo() -> None:
    asked: list[ProbeRequest] = []
    machine = search()
    result = drive(machine, Queue(), P95, on_ask=asked.append)
    assert [r.number for r in asked] == list(range(1, len(asked) + 1))
    assert len({r.seed for r in asked}) == len(asked)
    order = [r.phase for r in asked]
    assert order[:3] == ["warmup", "closed", "scan"]
    assert phases(result) == ["warmup", "closed", "scan", "open", "certify"]
    assert (asked[0].requests, asked[0].concurrency) == (8, 8)
    assert (asked[1].requests, asked[1].concurrency) == (CLOSED_REQUESTS, 1)
    scans = [r.concurrency for r in asked if r.phase == "scan"]
    assert scans == [2, 4]  # doubled until the seats are full
    for request in asked:
        if request.phase == "scan":  # neither the ramp nor the drain is measured
            assert request.before == request.after == request.concurrency
    for request in asked:
        if request.rate_rps is not None:
            assert request.concurrency is None
            assert FEWEST <= request.requests <= LARGER * MOST
            assert request.before > 3 * request.rate_rps * 0.5
            assert request.after > 8 * request.rate_rps * 0.5
    assert (result.outcome, result.preliminary) == ("pass", False)
    last = result.probes[-1]
    assert (last.phase, last.verdict, last.rate_rps) == ("certify", "pass", result.rate_rps)
    assert result.rate_rps is not None
    assert result.estimate_rps is not None
    assert 0.9 * 5.75 < result.rate_rps < 1.01 * 5.75
    assert result.rate_rps < result.estimate_rps < 6.2
    assert result.rate_low_rps is not None
    assert result.rate_low_rps < result.estimate_rps < (result.rate_high_rps or 0)
    assert result.requests == sum(p.measurement.requests for p in result.probes)
    assert result.requests_at_rate == last.measurement.requests
    assert "certified" in result.reason


def test_the_walk_without_an_slo_needs_no_open_probe_before_it_certifies() -> None:
    result = drive(search(Slo()), Queue(), Slo())
    assert phases(result) == ["warmup", "closed", "scan", "certify"]
    assert [p.concurrency for p in result.probes if p.phase == "scan"] == [4]
    assert result.saturation_rps == pytest.approx(8.0, rel=0.02)
    assert result.rate_rps == pytest.approx(0.965 * 8.0, rel=0.03)
    assert not result.preliminary


def test_unknown_seats_are_found_where_the_throughput_grows_no_more() -> None:
    result = drive(search(Slo(), seats=None), Queue(slots=10), Slo())
    assert [p.concurrency for p in result.probes if p.phase == "scan"] == [2, 4, 8, 16, 32]
    assert result.saturation_rps == pytest.approx(20.0, rel=0.02)


def test_a_start_skips_the_scan() -> None:
    result = drive(search(start=5.0), Queue(), P95)
    assert phases(result) == ["warmup", "closed", "open", "certify"]
    assert next(p for p in result.probes if p.phase == "open").rate_rps == 5.0
    assert (result.outcome, result.saturation_rps) == ("pass", None)


@pytest.mark.parametrize("start", [0.6, 3.0, 20.0, 200.0])
def test_any_start_leads_to_the_same_rate(start: float) -> None:
    result = drive(search(start=start), Queue(), P95)
    assert (result.outcome, result.preliminary) == ("pass", False)
    assert result.rate_rps is not None
    assert 0.85 * 5.75 < result.rate_rps < 1.02 * 5.75


def test_the_same_request_until_it_is_told() -> None:
    machine = search()
    while (request := machine.ask()) is not None:
        assert machine.ask() == request
        machine.result("not now")
        assert machine.ask() == request
        load = load_of(request)
        timings = Queue().run(load, request.concurrency)
        measured = measure(timings, P95, request.rate_rps)
        judged, measured = machine.judge(request, load, timings, measured)
        assert machine.ask() == request
        machine.tell(probe_of(request, judged, measured), load, timings)
    assert machine.ask() is None


def test_the_same_answers_give_the_same_search() -> None:
    assert drive(search(), Queue(), P95) == drive(search(), Queue(), P95)


def test_requests_per_probe_are_what_was_asked_for() -> None:
    result = drive(search(requests_per_probe=150), Queue(), P95, watched=False)
    assert {p.measurement.requests for p in result.probes if p.rate_rps} == {150}


# ---- where it ends


def test_infeasible_without_queueing() -> None:
    tight = Slo.parse(["p50(e2e) <= 400 ms"])
    result = drive(search(tight), Queue(), tight)
    assert (result.outcome, result.rate_rps, len(result.probes)) == ("infeasible", None, 2)
    assert "with no queueing: p50(e2e) 500 ms > 400 ms" in result.reason


def test_infeasible_below_the_floor() -> None:
    """Alone every request is fast; with any other beside it none is."""

    class Jealous(Queue):
        def run(self, load: Load, concurrency: int | None) -> Timings:
            found = super().run(load, concurrency)
            return found if concurrency == 1 else replace(found, end_s=found.end_s + 50)

    result = drive(search(), Jealous(), P95)
    assert result.outcome == "infeasible"
    assert result.rate_rps is None
    assert "no rate passed" in result.reason
    lowest = min(p.rate_rps for p in result.probes if p.rate_rps)
    assert lowest < 4 * 2.0 / 16  # an idle server does 2 req/s; a sixteenth of it is the floor


def test_a_void_closed_loop_is_tried_twice() -> None:
    result = told(search(), lambda request: "void" if request.phase == "closed" else "pass")
    assert [p.phase for p in result.probes] == ["warmup", "closed", "closed"]
    assert result.outcome == "inconclusive"
    assert "told void" in result.reason


def test_nothing_but_void_probes_end_inconclusive() -> None:
    result = told(search(), lambda request: "void" if request.rate_rps else "pass")
    assert result.outcome == "inconclusive"
    assert len([p for p in result.probes if p.rate_rps]) <= 4
    result = told(search(Slo()), lambda request: "void" if request.rate_rps else "pass")
    assert result.outcome == "inconclusive"
    assert len([p for p in result.probes if p.phase == "certify"]) <= MOST_CERTIFY


def test_a_rate_that_was_not_certified_is_preliminary() -> None:
    result = told(search(), lambda r: "inconclusive" if r.phase == "certify" else None)
    tried = [p.rate_rps or 0.0 for p in result.probes if p.phase == "certify"]
    assert len(tried) == MOST_CERTIFY
    assert tried == sorted(set(tried), reverse=True)
    assert result.preliminary
    assert (result.outcome == "pass") == any(p.verdict == "pass" and p.rate_rps
                                             for p in result.probes)  # fmt: skip


def test_max_probes_end_it_and_are_said() -> None:
    result = drive(search(max_probes=5), Queue(), P95)
    assert len(result.probes) == 5
    assert "max_probes (5) are used up" in result.reason
    assert result.preliminary


def test_stopped_from_outside_at_any_time() -> None:
    machine = search()
    outcomes = [machine.result("out of time").outcome]
    reasons = [machine.result("out of time").reason]

    def look(request: ProbeRequest) -> None:
        found = machine.result("out of time")
        RateResult.model_validate_json(found.model_dump_json())
        outcomes.append(found.outcome)
        reasons.append(found.reason)

    drive(machine, Queue(), P95, on_ask=look)
    assert outcomes[0] == "inconclusive"
    assert all("the search stopped: out of time" in reason for reason in reasons)


# ---- resuming


def test_a_retold_search_goes_on_where_it_was() -> None:
    machine, kept = search(), []
    while (request := machine.ask()) is not None:
        load = load_of(request)
        timings = Queue().run(load, request.concurrency)
        measured = measure(timings, P95, request.rate_rps)
        judged, measured = machine.judge(request, load, timings, measured)
        kept.append((probe_of(request, judged, measured), load, timings))
        machine.tell(*kept[-1])
    for count in range(len(kept)):
        again = search()
        for probe, load, timings in kept[:count]:
            raw = Timings.from_rows(timings.rows())
            again.tell(Probe.model_validate_json(probe.model_dump_json()), load, raw)
        asked = again.ask()
        assert asked is not None
        assert asked.phase == kept[count][0].phase
        assert asked.seed == kept[count][0].seed
        assert asked.concurrency == kept[count][0].concurrency
        if asked.rate_rps is not None:
            assert asked.rate_rps == pytest.approx(kept[count][0].rate_rps, rel=1e-3)


def test_probes_without_their_timings_do_not_crash_it() -> None:
    whole = drive(search(), Queue(), P95)
    for count in range(len(whole.probes) + 1):
        machine = search()
        for probe in whole.probes[:count]:
            machine.tell(probe)
        machine.result("stopped")
        result = drive(machine, Queue(), P95)
        assert result.outcome in ("pass", "inconclusive")
        assert len(result.probes) <= 40


# ---- one rate


def test_a_verification_asks_for_its_rate_alone() -> None:
    for rate, outcome in ((5.0, "pass"), (6.8, "infeasible"), (30.0, "infeasible")):
        result = drive(verification(MethodChoice(), WORKLOAD, P95, rate, seed=3), Queue(), P95)
        assert result.outcome == outcome
        assert {p.rate_rps for p in result.probes if p.rate_rps} == {rate}
        assert phases(result) == ["warmup", "closed", "certify"]
        assert len(result.probes) <= 2 + MOST_CERTIFY


def test_an_slo_that_queueing_does_not_touch_ships_no_more_than_the_capacity() -> None:
    # gaps between tokens are 125 ms at any rate; eight requests a second are all there is
    for start in (5.0, 20.0):
        result = drive(search(ITL, start=start), Queue(), ITL)
        assert result.rate_rps is None or result.rate_rps <= 8.0


def test_a_probe_has_a_size_that_can_be_sent() -> None:
    # two requests a second are all there is: the longer the probe, the longer its queue
    queue, machine = Queue(slots=1), verification(MethodChoice(), WORKLOAD, ITL, 40.0, seed=1)
    sizes: list[int] = []
    while (request := machine.ask()) is not None and max(sizes, default=0) < 100_000:
        sizes.append(request.before + request.requests + request.after)
        load = load_of(request)
        timings = queue.run(load, request.concurrency)
        measured = measure(timings, ITL, request.rate_rps)
        judged = Judgement("inconclusive" if request.rate_rps else "pass", "")
        machine.tell(probe_of(request, judged, measured), load, timings)
    assert max(sizes) < 100_000


# ---- early stops


def test_a_probe_that_surely_fails_is_ended_and_one_that_holds_is_not() -> None:
    machine = search(start=16.0)
    request = ProbeRequest(3, "open", 500, 11, rate_rps=16.0, before=30, after=100)
    watch = machine.watch(request)
    assert watch is not None
    timings = Queue().run(load_of(request), None)
    ends = np.sort(timings.end_s[timings.first : timings.last])
    looks = [bool(watch(timings.until(now))) for now in ends[31::32]]
    assert any(looks)
    assert looks.index(True) < len(looks) / 2
    calm = replace(request, rate_rps=5.0)
    timings = Queue().run(load_of(calm), None)
    ends = np.sort(timings.end_s[timings.first : timings.last])
    assert not any(watch(timings.until(now)) for now in ends[31::32])


def test_only_open_probes_under_an_slo_are_watched() -> None:
    request = ProbeRequest(3, "open", 500, 11, rate_rps=16.0)
    assert search(Slo()).watch(request) is None
    phases_: tuple[Phase, ...] = ("warmup", "closed", "scan")
    for phase in phases_:
        assert search().watch(replace(request, phase=phase)) is None
