"""The default rate search: few probes near the answer, percentiles adjusted for the arrivals.

Closed loops find where to look (they need no guess and end soon); open probes there are fitted
together (``loadmodel.py``), each next one where the fit says that it teaches most; the rate that
ships lies below the estimate by the risk that was asked for, and a last probe with fresh seeds
has to certify it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from scipy.special import ndtri

from optikit.core.evidence import excess, known_prefix
from optikit.core.findings import MOST_SEATS, NEAR_CEILING, Findings, Told, open_probe
from optikit.core.load import Load
from optikit.core.metrics import broken_requests, evidence_of, measure, share_interval
from optikit.core.search import CLOSED_REQUESTS, ProbeRequest, Question, Watch, probe_seed
from optikit.core.sizing import ENOUGH, FEWEST, probe_size, time_to_certify
from optikit.core.sustain import Sustained, judge_shares
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement, client_late, gross_lag, judge_closed, judge_evidence
from optikit.spec.record import Measurement, Probe, RateResult, Verdict

__all__ = ["AdjustedSearch"]

MOST_OPEN = 4
"""Open probes before the search certifies with what it has."""
MOST_CERTIFY = 4
AIM = 1.07
"""Next probe over the estimate: more requests near the limit, and the fit leans downwards."""
OUT = 1.25
"""Step beyond the rates that were tried."""
MODEL_ERROR = 0.012
"""Standard error of log(rate) that the fit itself adds: it is no law of nature."""
NEAR_SATURATION, LOADED = 0.12, 0.75
"""What is added to it for each unit of load (rate over saturation throughput) beyond this one."""
SHIP_SATURATED = 0.965
"""Without a bound that binds, this much of the saturation throughput ships."""
WAVES = 4
_LOOK = 32
_SPENT = 0.0005  # error spent on each look of a probe that may stop early
_UNKNOWN_CORRELATION = 8.0


class AdjustedSearch:
    """See the module.

    Args:
        only_certify: ask for certification probes at ``question.start_rps`` alone.
    """

    def __init__(self, question: Question, only_certify: bool = False) -> None:
        self._question = question
        self._method = question.method
        self._only = only_certify
        self._found = Findings(question)
        self._z = -float(ndtri(question.method.risk))

    # -- what the caller drives

    def ask(self) -> ProbeRequest | None:
        """See :class:`RateSearch`."""
        return None if len(self._found.told) >= self._method.max_probes else self._next()

    def tell(self, probe: Probe, load: Load | None = None, timings: Timings | None = None) -> None:
        """See :class:`RateSearch`."""
        self._found.told.append(Told(probe, load, timings))

    def watch(self, request: ProbeRequest) -> Watch | None:
        """An open probe ends once it has surely failed; each look spends a part of the error."""
        bounds = self._question.slo.bounds
        if request.phase not in ("open", "certify") or not bounds:
            return None

        def surely_failed(timings: Timings) -> bool:
            part = timings.measured()
            now = _latest(part)
            known = known_prefix(part, bounds, now)
            if known < _LOOK:
                return False
            head = replace(part, first=0, last=known).measured()
            for bound in bounds:
                seen = evidence_of(bound, excess(head, bound), tail=_SPENT)
                worth = min(seen.effective, known / _UNKNOWN_CORRELATION)
                low = _share_low(seen.share, worth)
                if low > min(2 * bound.allowed, (1 + bound.allowed) / 2):
                    return True
            return False

        return surely_failed

    def judge(
        self, request: ProbeRequest, load: Load, timings: Timings, measurement: Measurement
    ) -> tuple[Judgement, Measurement]:
        """By intervals; an open probe together with those near it."""
        broken = broken_requests(timings)
        slo, method = self._question.slo, self._method
        if request.phase == "warmup":
            return Judgement("void", "warm-up, not judged"), measurement
        if request.phase == "closed":
            return judge_closed(slo, measurement, broken=broken), measurement
        if request.phase == "scan" or request.rate_rps is None:
            # a closed loop sends in lockstep, which says nothing of the time to first tokens
            told = [b for b in slo.bounds if {limit.metric for limit in b.limits} != {"ttft"}]
            kept = {str(bound) for bound in told or slo.bounds}
            seen = tuple(b for b in measurement.bounds if b.bound in kept)
            scanned = measurement.model_copy(update={"bounds": seen})
            return judge_evidence(slo, scanned, method, broken=broken, scan=True), measurement
        judgement, measurement = self._judge_open(request, load, timings, measurement, broken)
        late = client_late(measurement, method)
        if late and judgement.verdict in ("pass", "inconclusive"):
            # had every request been sent in time, none would have ended later than this
            whole = replace(timings, sent_s=timings.scheduled_s)
            again = measure(whole, slo, request.rate_rps)
            worst, _ = self._judge_open(request, load, whole, again, broken)
            if worst.verdict != judgement.verdict or gross_lag(measurement, method):
                return Judgement("void", late), measurement
        return judgement, measurement

    def _judge_open(
        self,
        request: ProbeRequest,
        load: Load,
        timings: Timings,
        measurement: Measurement,
        broken: int,
    ) -> tuple[Judgement, Measurement]:
        question, rate = self._question, request.rate_rps or 0.0
        probes = self._found.open_probes()
        if timings.last == load.last and measurement.completed:  # it was not stopped early
            probes = [*probes, open_probe(rate, load, timings, measurement)]
            shares = judge_shares(
                probes,
                question.slo,
                question.workload,
                rate,
                self._z,
                question.trace,
                own=request.phase == "certify" and not self._only,
            )
            measurement = measurement.model_copy(update={"bounds": tuple(shares)})
        judgement = judge_evidence(question.slo, measurement, self._method, broken=broken)
        cap = self._found.saturated
        if judgement.verdict == "pass" and cap is not None and not question.slo.bounds:
            most = cap.rate_rps * math.exp(-self._z * cap.error)
            if rate > most:
                verdict: Verdict = "fail" if rate > cap.rate_rps else "inconclusive"
                found = f"the server saturates at {cap.rate_rps:.4g} req/s ({most:.4g} for sure)"
                judgement = Judgement(verdict, f"{found}; {judgement.reason}")
        return judgement, measurement

    # -- what is next

    def _next(self) -> ProbeRequest | None:
        number = len(self._found.told) + 1
        seed = probe_seed(self._question.base_seed, number)
        warmups = self._method.warmup_requests
        if warmups and not self._found.of("warmup"):
            return ProbeRequest(number, "warmup", warmups, seed, concurrency=warmups)
        closed = self._found.of("closed")
        if not closed or (len(closed) == 1 and closed[0].verdict == "void"):
            return ProbeRequest(number, "closed", CLOSED_REQUESTS, seed, concurrency=1)
        seen = closed[-1]
        if seen.verdict in ("fail", "void") or not seen.measurement.completed:
            return None
        if not self._queueing or (self._question.start_rps is None and not self._only):
            step = self._scan_step()
            if step is not None:
                least = max((WAVES - 1) * step, 24)
                # behind the last requests comes a drain, which is faster than a full server
                return ProbeRequest(number, "scan", least, seed, step, before=step, after=step)
        rate = None if self._only else self._open_rate()
        if rate is not None:
            return self._probe(number, seed, "open", rate)
        rate = self._certify_rate() if self._question.certify else None
        return None if rate is None else self._probe(number, seed, "certify", rate)

    @property
    def _queueing(self) -> bool:
        """Whether some bound of the SLO sees requests wait; else only saturation stops them."""
        return bool({"e2e", "ttft"} & self._question.slo.metrics)

    def _scan_step(self) -> int | None:
        """Concurrency of the next closed loop; None: the scan is over."""
        seats = self._question.max_num_seqs
        scans = self._found.of("scan")
        if self._found.scan_over:
            return None
        if not self._question.slo.bounds and seats:
            return seats
        step = 2 * (scans[-1].concurrency or 1) if scans else 2
        return min(step, seats or MOST_SEATS)

    def _first_rate(self) -> float:
        """Where the open loop begins: below the throughput at which the closed loop broke."""
        if self._question.start_rps is not None:
            return self._question.start_rps
        unqueued = 1e3 / self._found.of("closed")[-1].measurement.mean_e2e_ms
        kept = [s.rate_rps for p, s in self._found.scans() if p.verdict == "pass"]
        lost = [s.rate_rps for p, s in self._found.scans() if p.verdict != "pass"]
        low, high = max(kept, default=unqueued), min(lost, default=math.inf)
        if high == math.inf:
            return 0.9 * low
        return 0.85 * math.sqrt(low * max(high, low))

    def _open_rate(self) -> float | None:
        """The next rate on the way to the estimate; None: it is time to certify."""
        if not self._question.slo.bounds:
            return None
        tried = self._found.of("open", "certify")
        if not tried:
            return min(self._first_rate(), self._found.ceiling)
        found = self._found.estimate()
        if found is None:  # every probe was void
            return None if len(tried) >= 3 else tried[-1].rate_rps
        if found.rate_rps < self._found.floor:
            return None
        opened = len(self._found.of("open"))
        if found.bracketed and (found.error <= ENOUGH or self._found.of("certify")):
            return None
        if (opened >= MOST_OPEN and found.bracketed) or opened >= 4 * MOST_OPEN:
            return None
        if time_to_certify(self._question, self._found, found.rate_rps):
            return None
        if not found.bracketed:
            return self._outwards(found)
        aim = AIM if self._found.loaded(AIM * found.rate_rps) < NEAR_CEILING else 1.0
        rate = min(found.rate_rps * aim, self._found.ceiling)
        lost = self._found.lost
        if rate > 0.98 * lost:  # a probe there would be stopped early again, and teach nothing
            rate = min(found.rate_rps, 0.95 * lost)
        return rate

    def _outwards(self, found: Sustained) -> float | None:
        """A rate beyond those that were tried, on the side where the answer must be."""
        tried = self._found.of("open", "certify")
        failed = min((p.rate_rps for p in tried if p.verdict == "fail" and p.rate_rps), default=0.0)
        whole = [p.rate_rps for p in self._found.open_probes()]
        highest = max((rate for rate in whole if not failed or rate < failed), default=0.0)
        if found.rate_rps < min(whole, default=math.inf) or (failed and not highest):
            rate = min(found.rate_rps, *(p.rate_rps / OUT for p in tried if p.rate_rps))
        elif failed and highest:
            rate = math.sqrt(failed * highest)
            if failed < 1.03 * highest:
                return None
        else:
            quiet = all(b.share < b.allowed / 10 for b in tried[-1].measurement.bounds)
            rate = highest * (2.0 if quiet else OUT)
            # a closed loop that missed the SLO had a throughput that is hardly exceeded
            missed = min(
                (s.rate_rps for p, s in self._found.scans() if p.verdict == "fail"), default=rate
            )
            rate = min(rate, max(1.05 * missed, highest * OUT))
        if highest >= NEAR_CEILING * self._found.ceiling and rate >= highest:
            return None
        return min(rate, self._found.ceiling)

    def _certify_rate(self) -> float | None:
        tried = self._found.of("certify")
        if self._only:
            rate = self._question.start_rps
            settled = tried and tried[-1].verdict in ("pass", "fail")
            return None if settled or len(tried) >= MOST_CERTIFY else rate
        if tried and tried[-1].verdict == "pass":
            return None
        if len(tried) >= MOST_CERTIFY:
            return None
        found = self._found.estimate()
        if found is None or found.rate_rps < self._found.floor:
            return None
        if tried and tried[-1].verdict == "void" and tried[-1].rate_rps:
            return tried[-1].rate_rps
        rate = min(self._shipped(found), 0.97 * self._found.lost)
        if not found.bracketed and self._question.slo.bounds:  # time is short: what passed, no more
            passed = [p.rate_rps for p in self._found.of("open") if p.verdict == "pass"]
            rate = max((r for r in passed if r is not None and r <= rate), default=rate)
        if tried and tried[-1].rate_rps:
            rate = min(rate, 0.985 * tried[-1].rate_rps)
        return rate

    def _shipped(self, found: Sustained) -> float:
        """The rate below the estimate that the risk asks for."""
        if found.bound == "saturation":
            return found.rate_rps * SHIP_SATURATED * math.exp(-self._z * max(found.error - 0.01, 0))
        error = self._error(found)
        return min(found.rate_rps * math.exp(-self._z * error), self._found.ceiling)

    def _error(self, found: Sustained) -> float:
        """Standard error of log(rate), what the fit itself adds included.

        Near saturation queues outlive a probe, and the fit sees too few of the long ones.
        """
        beyond = max(self._found.loaded(found.rate_rps) - LOADED, 0.0)
        return math.hypot(found.error, MODEL_ERROR + NEAR_SATURATION * beyond)

    def _probe(
        self, number: int, seed: int, phase: Literal["open", "certify"], rate: float
    ) -> ProbeRequest:
        size = probe_size(self._question, self._found, rate)
        return ProbeRequest(
            number=number,
            phase=phase,
            requests=size.requests,
            seed=seed,
            rate_rps=rate,
            before=size.before,
            after=size.after,
        )

    # -- the answer

    def result(self, stopped: str | None = None) -> RateResult:
        """See :class:`RateSearch`."""
        found = self._found.estimate() if not self._only else None
        certified = [p for p in self._found.of("certify") if p.verdict == "pass"]
        passed = certified or [p for p in self._found.of("open") if p.verdict == "pass"]
        best = max(passed, key=lambda p: p.rate_rps or 0.0, default=None)
        outcome, reason = self._outcome(stopped, found, bool(certified), best)
        rate = best.rate_rps if best and outcome == "pass" else None
        if not self._question.certify and found is not None:
            kept = found.bracketed and found.rate_rps >= self._found.floor
            if outcome != "infeasible" and kept:
                rate = self._shipped(found)
                outcome, reason = "pass", f"{rate:.4g} req/s estimated, not certified"
        error = self._error(found) if found else 0.0
        spread = math.exp(1.96 * error)
        cap = self._found.saturated
        return RateResult(
            outcome=outcome,
            rate_rps=rate,
            rate_low_rps=found.rate_rps / spread if found else None,
            rate_high_rps=found.rate_rps * spread if found and found.bracketed else None,
            estimate_rps=found.rate_rps if found and found.bracketed else None,
            saturation_rps=cap.rate_rps if cap else None,
            preliminary=not certified or best is None or best.measurement.requests < FEWEST,
            reason=reason,
            method=self._method.name,
            requests=sum(probe.measurement.requests for probe in self._found.all),
            requests_at_rate=sum(
                p.measurement.requests
                for p in self._found.of("open", "certify")
                if best and p.rate_rps == best.rate_rps and p.verdict != "void"
            ),
            probes=tuple(self._found.all),
        )

    def _outcome(
        self, stopped: str | None, found: Sustained | None, certified: bool, best: Probe | None
    ) -> tuple[Literal["pass", "infeasible", "inconclusive"], str]:
        if stopped is None and len(self._found.told) >= self._method.max_probes and self._next():
            stopped = f"max_probes ({self._method.max_probes}) are used up"
        tail = f"; the search stopped: {stopped}" if stopped else ""
        closed = self._found.of("closed")
        if closed and closed[-1].verdict == "fail":
            return "infeasible", closed[-1].reason
        if closed and closed[-1].verdict == "void":
            return "inconclusive", closed[-1].reason + tail
        tried = self._found.of("open", "certify")
        if certified and best is not None:
            return "pass", f"{best.rate_rps:.4g} req/s certified: {best.reason}{tail}"
        if self._only and tried and tried[-1].verdict == "fail":
            return "infeasible", f"{tried[-1].rate_rps:.4g} req/s does not hold: {tried[-1].reason}"
        if best is not None:
            return "pass", f"{best.rate_rps:.4g} req/s passed, not certified{tail}"
        last = f": {tried[-1].reason}" if tried else ""
        if found is not None and closed and found.rate_rps < self._found.floor and not stopped:
            return "infeasible", f"no rate passed{last}"
        return "inconclusive", f"no rate passed{last}{tail}"


def _share_low(share: float, worth: float) -> float:
    """Lower bound of a share at the error that one look may spend."""
    return share_interval(share, worth, _SPENT)[0]


def _latest(part: Timings) -> float:
    """Time of the last thing that was seen."""
    known = [times[times == times] for times in (part.end_s, part.first_token_s, part.sent_s)]
    return max((float(times.max()) for times in known if len(times)), default=0.0)
