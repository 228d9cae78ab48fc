"""A queue that answers what a rate search asks, and the loop around the two."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optikit.core.evidence import known_prefix
from optikit.core.load import Load, plan_load
from optikit.core.metrics import measure
from optikit.core.search import ProbeRequest, RateSearch
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement
from optikit.spec.record import Measurement, Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload

WORKLOAD = Workload.parse({"prompt_tokens": 8, "output_tokens": 4})


@dataclass
class Queue:
    """``slots`` requests at a time, ``service_s`` each; the first token after a quarter of it."""

    slots: int = 4
    service_s: float = 0.5

    @property
    def capacity_rps(self) -> float:
        return self.slots / self.service_s

    def run(self, load: Load, concurrency: int | None) -> Timings:
        n = len(load)
        free, clients = [0.0] * self.slots, [0.0] * (concurrency or 0)
        sent, end = load.at_s.copy(), np.zeros(n)
        for index in range(n):
            at = heapq.heappop(clients) if concurrency else float(load.at_s[index])
            done = max(at, heapq.heappop(free)) + self.service_s
            heapq.heappush(free, done)
            sent[index], end[index] = at, done
            if concurrency:
                heapq.heappush(clients, done)
        gap = 0.75 * self.service_s / 3
        tokens = (end[:, None] - gap * np.array([3, 2, 1, 0])).ravel()  # 4 tokens a request
        return Timings(sent, sent, end - 3 * gap, end, load.prompt_tokens, load.output_tokens,
                       load.first, load.last, {}, tokens, 4 * np.arange(n + 1))  # fmt: skip


def load_of(request: ProbeRequest, workload: Workload = WORKLOAD) -> Load:
    return plan_load(
        workload,
        request.rate_rps,
        request.requests,
        request.seed,
        before=request.before,
        after=request.after,
    )


def probe_of(request: ProbeRequest, judgement: Judgement, measurement: Measurement) -> Probe:
    return Probe(
        number=request.number,
        phase=request.phase,
        concurrency=request.concurrency,
        rate_rps=request.rate_rps,
        seed=request.seed,
        verdict=judgement.verdict,
        reason=judgement.reason,
        measurement=measurement,
    )


def stopped_at(timings: Timings, slo: Slo, now_s: float) -> Timings:
    """The head of a probe that was stopped: what is known by then, as ``find_rate`` cuts it."""
    seen = timings.until(now_s)
    known = known_prefix(seen.measured(), slo.bounds, now_s)
    return Timings(seen.scheduled_s, seen.sent_s, seen.first_token_s, seen.end_s,
                   seen.prompt_tokens, seen.output_tokens, seen.first,
                   seen.first + max(known, 1), seen.errors,
                   seen.token_s, seen.token_offsets)  # fmt: skip


def drive(
    search: RateSearch,
    queue: Queue,
    slo: Slo,
    workload: Workload = WORKLOAD,
    *,
    watched: bool = True,
    on_ask: Callable[[ProbeRequest], None] = lambda request: None,
) -> RateResult:
    """Run a search to its end; a watched probe ends where its watch ends it."""
    while (request := search.ask()) is not None:
        on_ask(request)
        load = load_of(request, workload)
        timings = queue.run(load, request.concurrency)
        watch = search.watch(request)
        if watch is not None and watched:
            ends = np.sort(timings.end_s[timings.first : timings.last])
            for now in ends[31::32]:
                if watch(timings.until(now)):
                    timings = stopped_at(timings, slo, float(now))
                    break
        measured = measure(timings, slo, request.rate_rps)
        judgement, measured = search.judge(request, load, timings, measured)
        search.tell(probe_of(request, judgement, measured), load, timings)
    return search.result()
