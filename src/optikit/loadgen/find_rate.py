"""The one loop that searches a rate: RateSearch x load generator, every probe judged and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

from optikit.core.metrics import broken_requests, measure
from optikit.core.prompts import plan_requests
from optikit.core.rate import ProbeRequest, RateSearch
from optikit.core.verdict import Judgement, judge_closed, judge_open
from optikit.errors import EngineDied
from optikit.loadgen.base import LoadGenerator
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.record import Measurement, Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.timing import PlannedRequest, RequestTiming
from optikit.spec.workload import Workload

__all__ = ["CUT_FACTOR", "MIN_TIMEOUT_S", "find_rate"]

CUT_FACTOR = 4.0
"""A probe is cut at this many times its expected duration: the server is that far behind, and
whatever the rest of the requests would do, the rate has failed."""
MIN_TIMEOUT_S = 30.0
# Slowest server worth waiting for while nothing is known of it, one request after the other.
_SLOWEST_PROMPT_TOKEN_S = 0.02
_SLOWEST_OUTPUT_TOKEN_S = 0.5


def find_rate(
    search: RateSearch,
    generator: LoadGenerator,
    endpoint: Endpoint,
    workload: Workload,
    slo: Slo,
    method: MethodChoice,
    *,
    on_probe: Callable[[Probe, list[RequestTiming]], str | None],
    check: Callable[[], None],
    remaining_s: Callable[[], float],
    clock: Callable[[], float] = time.monotonic,
) -> RateResult:
    """Run the probes that ``search`` asks for until it ends or the time does.

    No probe begins that is not expected to end within ``method.max_search_s`` and
    ``remaining_s()``; the search then answers with what it knows. A probe that takes four times
    as long as expected (at least 30 s) is cut; its open requests are errors, so that it fails.
    One that is cut earlier because time is up decides nothing.

    Args:
        on_probe: keeps a judged probe with its raw timings; returns the name of the raw file,
            which goes into ``Probe.raw``.
        check: raises EngineDied when the server is gone; called after a probe with failures.
        remaining_s: seconds that the job has left; may raise BudgetExceeded.
        clock: seconds, monotonic.

    Raises:
        EngineDied: the server is gone, or answered not one request of a probe.
    """
    end = clock() + method.max_search_s
    latency_s: float | None = None  # without queueing; before phase 1, the warm-up's
    while (request := search.ask()) is not None:
        plan = plan_requests(
            workload, request.rate_rps, request.requests, endpoint.vocab, request.seed
        )
        left_s = min(end - clock(), remaining_s())
        expected_s = _expected_s(request, plan, latency_s)
        if left_s <= 0 or (expected_s is not None and expected_s > left_s):
            return search.result(
                f"{max(left_s, 0):.0f} s are left, the next probe needs {expected_s or 0:.0f} s"
            )
        wanted_s = (
            _first_timeout_s(plan)
            if expected_s is None
            else max(CUT_FACTOR * expected_s, MIN_TIMEOUT_S)
        )
        timeout_s = min(wanted_s, left_s)
        began = clock()
        timings = generator.run(
            endpoint, plan, concurrency=request.concurrency, timeout_s=timeout_s
        )
        out_of_time = timeout_s < wanted_s and clock() - began >= timeout_s
        bounds = [(bound.metric, bound.percentile) for bound in slo.bounds]
        measurement = measure(timings, bounds, request.rate_rps)
        broken = broken_requests(timings)
        judgement = _judge(request.phase, slo, measurement, method, broken)
        if out_of_time and measurement.failed:
            judgement = Judgement("inconclusive", f"cut after {timeout_s:.0f} s: time is up")
        probe = Probe(
            number=request.number,
            phase=request.phase,
            concurrency=request.concurrency,
            rate_rps=request.rate_rps,
            verdict=judgement.verdict,
            reason=judgement.reason,
            measurement=measurement,
        )
        search.tell(probe.model_copy(update={"raw": on_probe(probe, timings)}))
        if measurement.failed:
            check()
            if not measurement.completed and not broken and not out_of_time:
                raise EngineDied(
                    f"the server answered none of {measurement.requests} requests within "
                    f"{timeout_s:.0f} s (first error: {measurement.error_sample}); see its log"
                )
        if out_of_time:
            return search.result("time is up")
        if request.phase != "open" and measurement.completed:
            latency_s = measurement.mean_e2e_ms / 1e3
    return search.result()


def _judge(
    phase: Literal["warmup", "closed", "open"],
    slo: Slo,
    measurement: Measurement,
    method: MethodChoice,
    broken: int,
) -> Judgement:
    if phase == "warmup":
        return Judgement("void", "warm-up, not judged")
    if phase == "closed":
        return judge_closed(slo, measurement, broken=broken)
    return judge_open(slo, measurement, method, broken=broken)


def _expected_s(
    request: ProbeRequest, plan: Sequence[PlannedRequest], latency_s: float | None
) -> float | None:
    """How long the probe takes on a server that keeps up; None: nothing is known of it."""
    if latency_s is None:
        return None
    if request.concurrency is None:
        return plan[-1].at_s + latency_s
    return len(plan) * latency_s  # no concurrency makes it slower than one after the other


def _first_timeout_s(plan: Sequence[PlannedRequest]) -> float:
    slowest = sum(
        len(request.prompt) * _SLOWEST_PROMPT_TOKEN_S
        + request.output_tokens * _SLOWEST_OUTPUT_TOKEN_S
        for request in plan
    )
    return MIN_TIMEOUT_S + slowest
