"""The search for the highest rate a server sustains: a machine that asks and is told.

It measures nothing and knows no clock; ``loadgen/find_rate.py`` runs the probes that it asks for.
A better method is one more class here and one more line in ``METHODS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from optikit.core.verdict import MIN_LATENCIES
from optikit.errors import BadInput, UnknownName, nearest
from optikit.spec.job import MethodChoice
from optikit.spec.record import Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload

__all__ = [
    "CERTIFIED_REQUESTS",
    "CLOSED_REQUESTS",
    "METHODS",
    "DoublingSearch",
    "ProbeRequest",
    "RateSearch",
    "probe_seed",
    "rate_search",
]

CLOSED_REQUESTS = 10
"""Requests of the closed loop: enough to see a latency without queueing."""
CERTIFIED_REQUESTS = 1000
"""Below this many requests at the certified rate a result is preliminary: over 24 seeds on four
workloads the rate certified by this rule lay within 3 % of the capacity (spread 3 to 5 %) at
1000 requests, up to 29 % over it at 300 and up to 31 times over it at 100."""
FLOOR = 1 / 16
"""A server that fails at this fraction of its rate without queueing holds no rate: fifteen
sixteenths of the time it is idle."""

_HEADROOM = 2.0  # a rate's latency over that of the rate below: a repeat would cost more


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A probe to run: ``concurrency`` is set in a closed loop, ``rate_rps`` in an open one."""

    number: int
    """Counts from 1."""
    phase: Literal["warmup", "closed", "open"]
    requests: int
    seed: int
    concurrency: int | None = None
    rate_rps: float | None = None


class RateSearch(Protocol):
    """Decides which probe is next; pure."""

    def ask(self) -> ProbeRequest | None:
        """The next probe, the same one until it is told; None: the search has ended."""

    def tell(self, probe: Probe) -> None:
        """A probe with its verdict, asked for now or by an earlier run of the same search."""

    def result(self, stopped: str | None = None) -> RateResult:
        """What is known by now.

        Args:
            stopped: why the caller asks no further, where the search itself had not ended.
        """


def probe_seed(base: int, number: int) -> int:
    """Seed of a search's ``number``-th probe: fresh for each, the same at every repetition."""
    return int(np.random.SeedSequence((base, number)).generate_state(1)[0])


class DoublingSearch:
    """The talk's search: closed loop, then double on pass and go to the middle on fail.

    A warm-up (not judged) comes first. Phase 1 is one closed loop at concurrency 1; where the SLO
    fails there, no rate can hold it. Phase 2 is an open loop from ``start_rps``, else from one
    request per mean latency of phase 1: a pass doubles the rate until the first fail, then the
    next rate is the middle of the highest pass (or 0) and the lowest fail, until the two are
    within ``method.rate_tolerance``. A probe without an answer is repeated once, with twice the
    requests if it was ``inconclusive``; where that gives no answer either, the search goes on
    below that rate, if a lower one has passed, and ends if none has.

    The number of requests of a probe grows over ``method.requests_per_probe`` where arrivals
    would else be over within a few latencies. No more than ``method.max_probes`` are asked for,
    warm-up included.

    Args:
        start_rps: a rate that is thought to be near, such as an incumbent's.
        seed: of all probes; None: the workload's.

    Raises:
        BadInput: the SLO bounds what the workload does not have.
    """

    def __init__(
        self,
        method: MethodChoice,
        workload: Workload,
        slo: Slo,
        start_rps: float | None = None,
        seed: int | None = None,
    ) -> None:
        if workload.output_tokens < 2 and any(bound.metric == "tpot" for bound in slo.bounds):
            raise BadInput(
                f"the SLO ({slo}) bounds the time per output token after the first, and the "
                "workload has output_tokens: 1; bound ttft or e2e, or ask for more tokens"
            )
        if start_rps is not None and not (0 < start_rps < math.inf):
            raise BadInput(f"start_rps is {start_rps}; it must be a rate above 0")
        self._method = method
        self._start_rps = start_rps
        self._seed = workload.seed if seed is None else seed
        self._probes: list[Probe] = []

    def tell(self, probe: Probe) -> None:
        """See :class:`RateSearch`."""
        self._probes.append(probe)

    def ask(self) -> ProbeRequest | None:
        """See :class:`RateSearch`."""
        return None if len(self._probes) >= self._method.max_probes else self._next()

    def _next(self) -> ProbeRequest | None:
        """What follows from the probes so far, were their number not bounded."""
        number = len(self._probes) + 1
        seed = probe_seed(self._seed, number)
        warmups = self._method.warmup_requests
        if warmups and not self._of("warmup"):
            return ProbeRequest(number, "warmup", warmups, seed, concurrency=warmups)
        closed = self._of("closed")
        if not closed or (len(closed) == 1 and closed[0].verdict == "void"):
            return ProbeRequest(number, "closed", CLOSED_REQUESTS, seed, concurrency=1)
        seen = closed[-1]
        if seen.verdict in ("fail", "void") or not seen.measurement.completed:
            return None
        rate = self._next_rate()
        if rate is None:
            return None
        return ProbeRequest(number, "open", self._requests(rate), seed, rate_rps=rate)

    def _of(self, phase: str) -> list[Probe]:
        return [probe for probe in self._probes if probe.phase == phase]

    def _rates(self, *verdicts: str) -> list[float]:
        """Rates of the open probes with one of these verdicts, ascending."""
        found = [probe.rate_rps for probe in self._of("open") if probe.verdict in verdicts]
        return sorted(rate for rate in found if rate is not None)

    @property
    def _failed(self) -> float:
        """Lowest rate that failed."""
        return min(self._rates("fail"), default=math.inf)

    @property
    def _passed(self) -> float:
        """Highest rate that passed below every rate that failed; 0: none."""
        return max((rate for rate in self._rates("pass") if rate < self._failed), default=0.0)

    @property
    def _unanswered(self) -> float:
        """Lowest rate that was tried twice without an answer, above what passed."""
        rates = self._rates("void", "inconclusive")
        twice = [rate for rate in rates if rates.count(rate) > 1 and rate > self._passed]
        return min(twice, default=math.inf)

    @property
    def _start(self) -> float:
        return self._unqueued if self._start_rps is None else self._start_rps

    @property
    def _unqueued(self) -> float:
        """One request per mean latency of phase 1, in requests per second."""
        return 1e3 / self._of("closed")[-1].measurement.mean_e2e_ms

    def _next_rate(self) -> float | None:
        opened = self._of("open")
        if not opened:
            return self._start
        last = opened[-1]
        if last.verdict in ("void", "inconclusive"):
            unanswered = self._rates("void", "inconclusive")
            if last.rate_rps is not None and unanswered.count(last.rate_rps) == 1:
                return last.rate_rps
        low, high = self._passed, min(self._failed, self._unanswered)
        if not low:
            ended = self._unanswered < math.inf or high / 2 < self._floor
            return None if ended else high / 2
        if high == math.inf:
            return 2 * low
        return (low + high) / 2 if (high - low) / low >= self._method.rate_tolerance else None

    @property
    def _floor(self) -> float:
        return FLOOR * min(self._start, self._unqueued)

    def _requests(self, rate: float) -> int:
        """Enough requests for arrivals to outlast the latency seen at the next lower rate."""
        opened = self._of("open")
        if opened and opened[-1].rate_rps == rate and opened[-1].verdict == "inconclusive":
            return 2 * opened[-1].measurement.requests
        below = [probe for probe in opened if probe.rate_rps == self._passed]
        seen = (below or self._of("closed"))[-1].measurement.mean_e2e_ms / 1e3
        needed = math.ceil(_HEADROOM * MIN_LATENCIES * rate * seen)
        return max(self._method.requests_per_probe, needed)

    def result(self, stopped: str | None = None) -> RateResult:
        """See :class:`RateSearch`."""
        passed, failed = self._passed, self._failed
        at_rate = max(
            (
                probe.measurement.requests
                for probe in self._of("open")
                if probe.verdict == "pass" and probe.rate_rps == passed
            ),
            default=0,
        )
        outcome, reason = self._outcome(stopped)
        return RateResult(
            outcome=outcome,
            rate_rps=passed if outcome == "pass" else None,
            rate_low_rps=passed or None,
            rate_high_rps=failed if failed < math.inf else None,
            preliminary=at_rate < CERTIFIED_REQUESTS,
            reason=reason,
            method=self._method.name,
            requests=sum(probe.measurement.requests for probe in self._probes),
            requests_at_rate=at_rate,
            probes=tuple(self._probes),
        )

    def _outcome(
        self, stopped: str | None
    ) -> tuple[Literal["pass", "infeasible", "inconclusive"], str]:
        if stopped is None and self.ask() is None and self._next() is not None:
            stopped = f"max_probes ({self._method.max_probes}) are used up"
        tail = f"; the search stopped: {stopped}" if stopped else ""
        closed = self._of("closed")
        if closed and closed[-1].verdict == "fail":
            return "infeasible", closed[-1].reason
        if closed and closed[-1].verdict == "void":
            return "inconclusive", closed[-1].reason + tail
        if not self._of("open"):
            return "inconclusive", f"no rate was tried{tail}"
        if self._passed:
            return "pass", f"{self._passed:.4g} req/s passed{self._notes()}{tail}"
        sunk = self._unanswered == math.inf and self._failed / 2 < self._floor
        return "infeasible" if sunk else "inconclusive", f"no rate passed{self._notes()}{tail}"

    def _notes(self) -> str:
        """The bracket's upper end and everything that makes the result weaker."""
        passed, failed = self._passed, self._failed
        reasons = {probe.rate_rps: probe.reason for probe in self._of("open")}
        fails = {p.rate_rps: p.reason for p in self._of("open") if p.verdict == "fail"}
        notes = [f" ({reasons[passed]})"] if passed else []
        notes.append(
            f"; {failed:.4g} req/s failed ({fails[failed]})"
            if failed < math.inf
            else "; no rate failed"
        )
        notes.extend(
            f"; {rate:.4g} req/s had passed before a rate as low failed, and is dropped"
            for rate in self._rates("pass")
            if rate >= failed
        )
        blind = self._unanswered
        if blind < failed:
            notes.append(f"; {blind:.4g} req/s gave no answer twice ({reasons[blind]})")
        return "".join(notes)


_Start = Callable[[MethodChoice, Workload, Slo, float | None, int | None], RateSearch]
METHODS: Mapping[str, _Start] = {"doubling": DoublingSearch}
"""Search methods by the name that ``method.name`` gives."""


def rate_search(
    method: MethodChoice,
    workload: Workload,
    slo: Slo,
    *,
    start_rps: float | None = None,
    seed: int | None = None,
) -> RateSearch:
    """A new search by the method's name.

    Raises:
        UnknownName: no such method; names the nearest.
        BadInput: the SLO bounds what the workload does not have.
    """
    if method.name not in METHODS:
        raise UnknownName(f"unknown method {method.name!r}; {nearest(method.name, METHODS)}")
    return METHODS[method.name](method, workload, slo, start_rps, seed)
