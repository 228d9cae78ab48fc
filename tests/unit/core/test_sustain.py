"""The rate that holds, and the shares at a rate, from open probes of a queue that is known."""

from __future__ import annotations

from functools import cache

import pytest

from optikit.core.load import plan_load
from optikit.core.sustain import REACH, OpenProbe, judge_shares, sustained_rate
from optikit.spec.slo import Slo
from tests.unit.core.queue_case import WORKLOAD, Queue

P95 = Slo.parse(["p95(e2e) <= 1 s"])
TRUTH = 5.75
"""Four slots of half a second, as counted over 200 000 requests."""


@cache
def probe(rate: float, seed: int = 1, count: int = 1000) -> OpenProbe:
    load = plan_load(WORKLOAD, rate, count, seed, before=30, after=60)
    timings = Queue().run(load, None)
    part = timings.measured()
    return OpenProbe(rate, load, timings, float((part.end_s - part.sent_s).mean()))


def test_the_crossing_is_found_between_the_probes() -> None:
    found = sustained_rate([probe(5.3), probe(6.2, 2)], P95, WORKLOAD, 5.7)
    assert found is not None
    assert found.bracketed
    assert found.rate_rps == pytest.approx(TRUTH, rel=0.06)
    assert 0 < found.error < 0.1
    assert found.bound == "p95(e2e) <= 1000 ms"


def test_the_tightest_bound_binds() -> None:
    both = Slo.parse(["p95(e2e) <= 1 s", "p50(ttft) <= 100 s"])
    found = sustained_rate([probe(5.3), probe(6.2, 2)], both, WORKLOAD, 5.7)
    assert found is not None
    assert found.bound == "p95(e2e) <= 1000 ms"


def test_outside_of_what_was_probed_it_is_the_edge_of_what_is_believed() -> None:
    held = sustained_rate([probe(2.0)], P95, WORKLOAD, 2.0)
    assert held is not None
    assert not held.bracketed
    assert held.rate_rps == pytest.approx(2.0 * REACH)
    lost = sustained_rate([probe(12.0, 1, 400)], P95, WORKLOAD, 12.0)
    assert lost is not None
    assert not lost.bracketed
    assert lost.rate_rps == pytest.approx(12.0 / REACH)


def test_probes_far_away_do_not_count() -> None:
    assert sustained_rate([probe(2.0)], P95, WORKLOAD, 5.0) is None
    assert sustained_rate([], P95, WORKLOAD, 5.0) is None


def test_shares_far_below_the_limit_are_those_seen_here_and_above() -> None:
    (seen,) = judge_shares([probe(2.0), probe(2.2, 2)], P95, WORKLOAD, 2.0, 1.96)
    assert not seen.adjusted
    assert (seen.counted, seen.over, seen.share, seen.low) == (2000, 0, 0.0, 0.0)
    assert 0 < seen.high < 0.01
    (alone,) = judge_shares([probe(2.0), probe(2.2, 2)], P95, WORKLOAD, 2.2, 1.96)
    assert alone.counted == 1000  # what held at a lower rate proves nothing here
    assert alone.high > seen.high


def test_shares_near_the_limit_are_adjusted_for_the_arrivals() -> None:
    probes = [probe(5.3), probe(6.2, 2)]
    (below,) = judge_shares(probes, P95, WORKLOAD, 5.3, 1.96)
    (above,) = judge_shares(probes, P95, WORKLOAD, 6.2, 1.96)
    assert below.adjusted
    assert above.adjusted
    assert below.share < 0.05 < above.share
    assert below.low < below.share < below.high
    assert below.counted == above.counted == 1000
    (wide,) = judge_shares(probes, P95, WORKLOAD, 5.3, 3.0)
    assert wide.high > below.high
