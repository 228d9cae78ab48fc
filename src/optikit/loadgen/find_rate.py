"""The one loop that searches a rate: RateSearch x load generator, every probe judged and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from optikit.core.evidence import known_prefix
from optikit.core.load import Load, plan_load
from optikit.core.metrics import broken_requests, measure
from optikit.core.search import ProbeRequest, RateSearch
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement
from optikit.errors import EngineDied
from optikit.loadgen.base import LoadGenerator, Watch
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.record import Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload

__all__ = ["CUT_FACTOR", "MIN_TIMEOUT_S", "find_rate"]

CUT_FACTOR = 4.0
"""A probe is cut at this many times its expected duration: the server is that far behind, and
whatever the rest of the requests would do, the rate has failed."""
MIN_TIMEOUT_S = 30.0
SETTLED, SETTLE_S, SETTLE_REQUESTS, SETTLE_SEED = 2.0, 120.0, 50, 77_000
"""After a probe that was cut: a latency of up to so many idle ones is that of an idle server; how
long, and with how many requests, that is waited for; and their seeds."""
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
    trace: Trace | None = None,
    on_probe: Callable[[Probe, Timings], str | None],
    check: Callable[[], None],
    remaining_s: Callable[[], float],
) -> RateResult:
    """Run the probes that ``search`` asks for until it ends or the time does.

    No probe begins that is not expected to end within ``method.max_search_s`` and
    ``remaining_s()``; the search then answers with what it knows. A probe that takes four times
    as long as expected (at least 30 s) is cut; its open requests are errors, so that it fails.
    One that is cut earlier because time is up decides nothing.

    Args:
        trace: rows of the file that the workload names.
        on_probe: keeps a judged probe with its raw timings; returns the name of the raw file,
            which goes into ``Probe.raw``.
        check: raises EngineDied when the server is gone; called after a probe with failures.
        remaining_s: seconds that the job has left; may raise BudgetExceeded.

    Raises:
        EngineDied: the server is gone, or answered not one request of a probe.
    """
    clock = generator.clock
    end = clock() + method.max_search_s
    latency_s: float | None = None  # without queueing; before phase 1, the warm-up's
    keep_tokens = "itl" in slo.metrics
    while (request := search.ask()) is not None:
        load = plan_load(
            workload,
            request.rate_rps,
            request.requests,
            request.seed,
            before=request.before,
            after=request.after,
            trace=trace,
        )
        left_s = min(end - clock(), remaining_s())
        expected_s = _expected_s(request, load, latency_s)
        if left_s <= 0 or (expected_s is not None and expected_s > left_s):
            return search.result(
                f"{max(left_s, 0):.0f} s are left, the next probe needs {expected_s or 0:.0f} s"
            )
        wanted_s = (
            _first_timeout_s(load)
            if expected_s is None
            else max(CUT_FACTOR * expected_s, MIN_TIMEOUT_S)
        )
        timeout_s = min(wanted_s, left_s)
        watch = _Noted(search.watch(request))
        began = clock()
        timings = generator.run(
            endpoint,
            load,
            concurrency=request.concurrency,
            timeout_s=timeout_s,
            watch=watch if watch.asks else None,
            keep_tokens=keep_tokens,
        ).rounded()  # what is kept is what is measured: a reader derives the very figures
        if watch.stopped:
            timings = _head(timings, slo)
        out_of_time = timeout_s < wanted_s and clock() - began >= timeout_s
        measurement = measure(timings, slo, request.rate_rps)
        judgement, measurement = search.judge(request, load, timings, measurement)
        if out_of_time and measurement.failed:
            judgement = Judgement("inconclusive", f"cut after {timeout_s:.0f} s: time is up")
        probe = Probe(
            number=request.number,
            phase=request.phase,
            concurrency=request.concurrency,
            rate_rps=request.rate_rps,
            seed=request.seed,
            verdict=judgement.verdict,
            reason=judgement.reason,
            measurement=measurement,
        )
        kept = probe.model_copy(update={"raw": on_probe(probe, timings)})
        search.tell(kept, load, timings)
        if measurement.failed:
            check()
            if not measurement.completed and not broken_requests(timings) and not out_of_time:
                raise EngineDied(
                    f"the server answered none of {measurement.requests} requests within "
                    f"{timeout_s:.0f} s (first error: {measurement.error_sample}); see its log"
                )
        if out_of_time:
            return search.result("time is up")
        if watch.stopped or measurement.failed:
            _settle(generator, endpoint, workload, trace, latency_s, min(end - clock(), SETTLE_S))
        if (request.rate_rps is None and request.concurrency == 1) or latency_s is None:
            latency_s = measurement.mean_e2e_ms / 1e3 if measurement.completed else latency_s
    return search.result()


def _settle(
    generator: LoadGenerator,
    endpoint: Endpoint,
    workload: Workload,
    trace: Trace | None,
    latency_s: float | None,
    patience_s: float,
) -> None:
    """Wait until the server answers a lone request as fast as an idle one.

    Requests that the client gave up may still be served: the next probe must not pay for them.

    Raises:
        EngineDied: it answered nothing at all for as long as a busy server may take.
    """
    until = generator.clock() + patience_s
    answered = False
    for number in range(SETTLE_REQUESTS):
        left_s = until - generator.clock()
        if left_s <= 0 and not answered and patience_s >= SETTLE_S:
            raise EngineDied(
                f"the server answered not one lone request in {patience_s:.0f} s: it hangs; "
                "see its log"
            )
        if latency_s is None or left_s <= 0:
            return
        load = plan_load(workload, None, 1, SETTLE_SEED + number, trace=trace)
        seen = generator.run(endpoint, load, concurrency=1, timeout_s=left_s)
        answered = answered or bool(seen.ok.any())
        if seen.ok.all() and float(seen.end_s[0] - seen.sent_s[0]) <= SETTLED * latency_s:
            return


class _Noted:
    """A watch that remembers whether it stopped the probe."""

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self.stopped = False

    @property
    def asks(self) -> bool:
        return self._watch is not None

    def __call__(self, timings: Timings) -> bool:
        self.stopped = self._watch is not None and self._watch(timings)
        return self.stopped


def _head(timings: Timings, slo: Slo) -> Timings:
    """Of a probe that was stopped: the measured requests whose outcome is known, from the first."""
    part = timings.measured()
    seen = [times[np.isfinite(times)] for times in (part.end_s, part.first_token_s, part.sent_s)]
    now = max((float(times.max()) for times in seen if len(times)), default=0.0)
    known = known_prefix(part, slo.bounds, now)
    return replace(timings, last=timings.first + max(known, 1))


def _expected_s(request: ProbeRequest, load: Load, latency_s: float | None) -> float | None:
    """How long the probe takes on a server that keeps up; None: nothing is known of it."""
    if latency_s is None:
        return None
    if request.concurrency is None:
        return float(load.at_s[load.last - 1]) + latency_s
    # the last measured request of a closed loop; batching makes no server slower than one by one
    return float(load.last * latency_s / max(1.0, request.concurrency**0.5))


def _first_timeout_s(load: Load) -> float:
    prompt, output = int(load.prompt_tokens.sum()), int(load.output_tokens.sum())
    return MIN_TIMEOUT_S + prompt * _SLOWEST_PROMPT_TOKEN_S + output * _SLOWEST_OUTPUT_TOKEN_S
