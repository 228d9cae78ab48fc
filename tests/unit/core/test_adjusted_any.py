"""The default search ends, and says something true, whatever it is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optikit.core.adjusted import AdjustedSearch
from optikit.core.metrics import measure
from optikit.core.search import Question
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement
from optikit.spec.job import MethodChoice
from optikit.spec.record import RateResult, Verdict
from optikit.spec.slo import Slo
from tests.unit.core.adjusted_case import SLOS, search, short, told
from tests.unit.core.queue_case import WORKLOAD, Queue, load_of, probe_of, stopped_at

pytestmark = pytest.mark.usefixtures("short_law")


@pytest.mark.parametrize("slo", SLOS, ids=str)
@pytest.mark.parametrize("verdict", ["pass", "fail", "void", "inconclusive"])
def test_one_verdict_for_all_open_probes(slo: Slo, verdict: Verdict) -> None:
    for start in (None, 5.0):
        machine = search(slo, start=start, requests_per_probe=60)
        result = told(machine, lambda request: verdict if request.rate_rps else "pass")
        assert len(result.probes) < 40
        if verdict == "pass":
            assert result.outcome == "pass"
        else:
            assert result.rate_rps is None


def spoilt(rng: np.random.Generator, timings: Timings, slo: Slo) -> Timings:
    """What may come of a probe: stopped early, slow, late, in part or wholly failed."""
    n = len(timings)
    kind = rng.choice(["whole", "stopped", "failed", "refused", "nothing", "late", "slow"],
                      p=[0.4, 0.15, 0.1, 0.1, 0.05, 0.1, 0.1])  # fmt: skip
    if kind == "stopped":
        return stopped_at(timings, slo, float(rng.uniform(0, np.max(timings.end_s))))
    if kind in ("failed", "refused", "nothing"):
        bad = rng.random(n) < (1.0 if kind == "nothing" else rng.choice([0.005, 0.05, 0.5]))
        nothing = np.where(bad, np.nan, timings.end_s)
        text = "HTTP 400: bad" if kind == "refused" else "HTTP 500: oh"
        errors = dict.fromkeys(np.flatnonzero(bad).tolist(), text)
        return replace(timings, end_s=nothing, errors=errors)
    if kind == "late":
        return replace(timings, scheduled_s=timings.scheduled_s - rng.uniform(0, 1, n))
    if kind == "slow":
        return replace(timings, end_s=timings.end_s + rng.exponential(5, n))
    return timings


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    slo=st.sampled_from(SLOS),
    max_probes=st.integers(2, 40),
    start=st.none() | st.floats(0.01, 1000),
    seats=st.none() | st.integers(1, 20),
    warmup=st.sampled_from([0, 8]),
    own=st.floats(0, 1),
    only=st.booleans(),
)
def test_any_answers_at_all(
    seed: int,
    slo: Slo,
    max_probes: int,
    start: float | None,
    seats: int | None,
    warmup: int,
    own: float,
    only: bool,
) -> None:
    """``own``: how often the verdict is the search's own."""
    rng = np.random.default_rng(seed)
    kinds: list[Verdict] = ["pass", "fail", "void", "inconclusive"]
    method = MethodChoice(max_probes=max_probes, warmup_requests=warmup, requests_per_probe=80)
    only = only and start is not None
    machine = AdjustedSearch(Question(method, WORKLOAD, slo, start, seed, seats), only)
    probes = 0
    while (request := machine.ask()) is not None:
        probes += 1
        assert probes <= max_probes
        if request.rate_rps is not None and not only and request.rate_rps != start:
            assert 0 < request.rate_rps <= machine._found.ceiling * (1 + 1e-9)
        queue = Queue(int(rng.integers(1, 8)), float(rng.choice([0.01, 0.2, 0.5, 3.0])))
        load = load_of(short(request))
        timings = spoilt(rng, queue.run(load, request.concurrency), slo)
        measured = measure(timings, slo, request.rate_rps)
        judged, measured = machine.judge(request, load, timings, measured)
        if rng.random() > own and request.phase != "warmup":
            judged = Judgement(kinds[rng.integers(4)], "made up")
        probe = probe_of(request, judged, measured)
        if rng.random() < 0.1:
            machine.tell(probe)  # of an earlier run whose raw file is gone
        else:
            machine.tell(probe, load, timings)
        RateResult.model_validate_json(machine.result("stopped").model_dump_json())
    result = machine.result()
    assert (result.outcome == "pass") == (result.rate_rps is not None)
    if result.rate_rps is not None:
        passed = [p.rate_rps for p in result.probes if p.verdict == "pass"]
        assert result.rate_rps in passed
