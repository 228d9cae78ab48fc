"""How many requests a probe of method ``adjusted`` takes, and whether there is time for it."""

from __future__ import annotations

import math
from typing import NamedTuple

from optikit.core.findings import Findings
from optikit.core.search import Question

__all__ = ["ENOUGH", "FEWEST", "MOST", "ProbeSize", "probe_size", "time_to_certify"]

ENOUGH = 0.022
"""Standard error of log(rate) at which the search goes on to certify."""
LATENCIES, STEADY_LATENCIES, FILL_LATENCIES, TAIL_LATENCIES = 20.0, 10.0, 3.0, 8.0
"""Length of a probe, of one without an SLO (whose latency is that of a full server), of what fills
the server before it, and of what may follow it, in mean latencies."""
OVER_EXPECTED = 25
"""Requests that a probe should have over a limit that is just kept."""
FEWEST, MOST, MOST_FLIGHT = 300, 2000, 5000
NEARLY_SATURATED = 0.8
"""Load (rate over saturation throughput) above which queues are long and last: few requests see
few of them."""
WANTING, LARGER = 0.3, 2
"""A further probe is at least this much of all that was seen: a smaller one would add nothing; and
at most so many times what it would else be."""
SLACK = 1.3
"""What a probe takes over its measured span: filling the server, the tail, planning."""


class ProbeSize(NamedTuple):
    """Measured requests, those before them and those behind them."""

    requests: int
    before: int
    after: int


def probe_size(question: Question, found: Findings, rate_rps: float) -> ProbeSize:
    """The size of the next open probe at a rate.

    Long against the latency (and so against the seats that are taken), enough requests over every
    limit, and where the estimate's error is still large as many as should bring it down. The end
    of the time that a search may take makes it smaller, down to ``FEWEST``.
    """
    flight = min(rate_rps * found.latency_s(rate_rps), MOST_FLIGHT)
    bounds = question.slo.bounds
    least = max((math.ceil(OVER_EXPECTED / bound.allowed) for bound in bounds), default=FEWEST)
    if bounds and found.loaded(rate_rps) > NEARLY_SATURATED:
        least = MOST
    length = LATENCIES if bounds else STEADY_LATENCIES
    needed = max(min(least, MOST), FEWEST, math.ceil(length * flight))
    needed = max(needed, min(_wanting(question, found), LARGER * needed))
    affordable = (question.method.max_search_s - _spent_s(found)) * rate_rps / SLACK
    needed = max(min(needed, int(affordable)), FEWEST)
    return ProbeSize(
        requests=question.method.requests_per_probe or needed,
        before=math.ceil(FILL_LATENCIES * flight) + 4,
        after=math.ceil(TAIL_LATENCIES * flight) + 32,
    )


def time_to_certify(question: Question, found: Findings, rate_rps: float) -> bool:
    """Whether one more probe on the way would leave no time to certify."""
    usual = max(_wanting(question, found), OVER_EXPECTED * 20)
    return _spent_s(found) + 2 * SLACK * usual / rate_rps > question.method.max_search_s


def _spent_s(found: Findings) -> float:
    """Seconds that the probes took, as their own clock saw it."""
    return sum(probe.measurement.duration_s for probe in found.all)


def _wanting(question: Question, found: Findings) -> int:
    """Requests that should bring the estimate's error down to what is enough."""
    sustained = found.estimate()
    if sustained is None or not sustained.bracketed or not question.slo.bounds:
        return 0
    seen = sum(probe.load.measured for probe in found.open_probes())
    return math.ceil(seen * max((sustained.error / ENOUGH) ** 2 - 1, WANTING))
