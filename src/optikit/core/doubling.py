"""The talk's rate search: closed loop, then double on pass and go to the middle on fail."""

from __future__ import annotations

import math
from typing import Literal

from optikit.core.load import Load
from optikit.core.metrics import broken_requests
from optikit.core.search import (
    CERTIFIED_REQUESTS,
    CLOSED_REQUESTS,
    FLOOR,
    ProbeRequest,
    Question,
    Watch,
    probe_seed,
)
from optikit.core.timings import Timings
from optikit.core.verdict import MIN_LATENCIES, Judgement, judge_closed, judge_open
from optikit.spec.record import Measurement, Probe, RateResult

__all__ = ["DoublingSearch"]

REQUESTS_PER_PROBE = 300
_HEADROOM = 2.0  # a rate's latency over that of the rate below: a repeat would cost more


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

    Arrivals end a probe's load: nothing goes before or behind the requests that are measured.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._method = question.method
        self._start_rps = question.start_rps
        self._seed = question.base_seed
        self._probes: list[Probe] = []

    def watch(self, request: ProbeRequest) -> Watch | None:
        """The talk's probes run to their end."""
        return None

    def judge(
        self, request: ProbeRequest, load: Load, timings: Timings, measurement: Measurement
    ) -> tuple[Judgement, Measurement]:
        """By point estimates; see :func:`optikit.core.verdict.judge_open`."""
        broken = broken_requests(timings)
        if request.phase == "warmup":
            return Judgement("void", "warm-up, not judged"), measurement
        if request.phase == "closed":
            return judge_closed(self._question.slo, measurement, broken=broken), measurement
        slo, method = self._question.slo, self._method
        return judge_open(slo, measurement, method, broken=broken), measurement

    def tell(self, probe: Probe, load: Load | None = None, timings: Timings | None = None) -> None:
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
        return max(self._method.requests_per_probe or REQUESTS_PER_PROBE, needed)

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
