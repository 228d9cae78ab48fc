"""Searches by the default method and SLOs for them: what its tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from optikit.core import loadmodel
from optikit.core.adjusted import AdjustedSearch
from optikit.core.metrics import measure
from optikit.core.search import ProbeRequest, Question
from optikit.core.verdict import Judgement
from optikit.spec.job import MethodChoice
from optikit.spec.record import RateResult
from optikit.spec.slo import Slo
from tests.unit.core.queue_case import WORKLOAD, Queue, load_of, probe_of

P95 = Slo.parse(["p95(e2e) <= 1 s"])
"""Holds on four slots of half a second up to 5.75 req/s (200 000 requests, as counted)."""
ITL = Slo.parse(["p95(itl) <= 200 ms"])
SLOS = [
    Slo(),
    P95,
    Slo.parse(["p50(ttft) <= 300 ms", "p99(e2e) <= 3 s"]),
    Slo.parse("goodput(ttft <= 1 s, tpot <= 200 ms) >= 90 %"),
    ITL,
]


@pytest.fixture(scope="module")
def short_law() -> Iterator[None]:
    """The law of the load from fewer requests: these tests ask for order, not for accuracy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loadmodel, "LAW_REQUESTS", 3000)
        loadmodel._law.cache_clear()
        yield
    loadmodel._law.cache_clear()


def search(
    slo: Slo = P95, *, start: float | None = None, seats: int | None = 4, **method: Any
) -> AdjustedSearch:
    return AdjustedSearch(
        Question(MethodChoice(**{"max_search_s": 1e9} | method), WORKLOAD, slo, start, None, seats)
    )


def short(request: ProbeRequest) -> ProbeRequest:
    """As large as tests have time for."""
    most = {name: min(getattr(request, name), 100) for name in ("before", "after", "requests")}
    return replace(request, **most)


def told(machine: AdjustedSearch, verdict: Any, queue: Queue | None = None) -> RateResult:
    """Run a search whose verdicts are made up (None: the search's own)."""
    slo, queue = machine._question.slo, queue or Queue()
    while (request := machine.ask()) is not None:
        assert request.before + request.requests + request.after < 200_000
        load = load_of(short(request))
        timings = queue.run(load, request.concurrency)
        measured = measure(timings, slo, request.rate_rps)
        judged, measured = machine.judge(request, load, timings, measured)
        made_up = verdict(request)
        if made_up is not None and request.phase != "warmup":
            judged = Judgement(made_up, f"told {made_up}")
        machine.tell(probe_of(request, judged, measured), load, timings)
    return machine.result()
