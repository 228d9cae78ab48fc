"""What a search by method ``adjusted`` has been told, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from optikit.core.load import Load
from optikit.core.saturation import Saturation, saturation
from optikit.core.search import FLOOR, Question
from optikit.core.sustain import OpenProbe, Sustained, sustained_rate
from optikit.core.timings import Timings
from optikit.spec.record import Measurement, Probe

__all__ = ["NEAR_CEILING", "Findings", "Told", "open_probe"]

SATURATED = 0.97
"""Highest rate over the saturation throughput that is probed: above it nothing is stationary."""
NEAR_CEILING = 0.93
"""A probe as near to saturation as this that still holds says that only saturation binds."""
STATIONARY = 1.02
"""A probe whose slope of completions on arrivals surely exceeds this has a growing queue: what it
saw belongs to no steady state."""
FLAT = 1.05
"""A closed loop of twice the concurrency with less than this gain has reached saturation."""
MOST_SEATS = 512


@dataclass(frozen=True)
class Told:
    """A probe, and what it was made of where that is still known."""

    probe: Probe
    load: Load | None
    timings: Timings | None


class Findings:
    """The probes told so far."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self.told: list[Told] = []
        self._estimates: dict[int, Sustained | None] = {}

    @property
    def all(self) -> tuple[Probe, ...]:
        """Every probe, oldest first."""
        return tuple(told.probe for told in self.told)

    def scans(self) -> list[tuple[Probe, Saturation]]:
        """The closed loops of growing concurrency and their throughput."""
        found = [
            (told.probe, saturation(told.timings))
            for told in self.told
            if told.probe.phase == "scan" and told.timings is not None
        ]
        return [(p, s) for p, s in found if s is not None and math.isfinite(s.rate_rps)]

    def of(self, *phases: str) -> list[Probe]:
        return [told.probe for told in self.told if told.probe.phase in phases]

    def open_probes(self) -> list[OpenProbe]:
        """Open probes that ran to their end and say something."""
        found = []
        for told in self.told:
            probe, measured = told.probe, told.probe.measurement
            if (
                probe.rate_rps is not None
                and probe.verdict != "void"
                and told.load is not None
                and told.timings is not None
                and told.timings.last == told.load.last
                and measured.completed
                and (measured.slope_low or 0.0) <= STATIONARY
            ):
                found.append(open_probe(probe.rate_rps, told.load, told.timings, measured))
        return found

    @property
    def scan_over(self) -> str | None:
        """Why the scan needs no further step: the SLO failed, or the throughput grows no more."""
        scans = self.of("scan")
        if not scans:
            return None
        full = (scans[-1].concurrency or 0) >= (self._question.max_num_seqs or MOST_SEATS)
        rates = [seen.rate_rps for _, seen in self.scans()]
        if full or (len(rates) > 1 and rates[-1] < FLAT * rates[-2]):
            return "saturated"
        queueing = {"e2e", "ttft"} & self._question.slo.metrics
        return "slo" if scans[-1].verdict in ("fail", "void") and queueing else None

    @property
    def saturated(self) -> Saturation | None:
        """The saturation throughput, where a scan has reached it."""
        if self.scan_over != "saturated":
            return None
        return max((seen for _, seen in self.scans()), key=lambda s: s.rate_rps, default=None)

    @property
    def ceiling(self) -> float:
        """Highest rate worth probing, in requests per second; infinite where nothing is known."""
        found = self.saturated
        return SATURATED * found.rate_rps if found else math.inf

    def estimate(self) -> Sustained | None:
        """The sustainable rate by all open probes."""
        key = len(self.told)
        if key not in self._estimates:
            self._estimates[key] = self._fit()
        return self._estimates[key]

    def _fit(self) -> Sustained | None:
        q = self._question
        cap = self.saturated
        ceiling = None
        if cap is not None:
            ceiling = Sustained(cap.rate_rps, cap.error, "saturation", True)
        if not q.slo.bounds:
            return ceiling
        tried = [probe for probe in self.of("open", "certify") if probe.rate_rps]
        if not tried:
            return None
        whole = self.open_probes()
        failed = [p.rate_rps for p in tried if p.verdict == "fail" and p.rate_rps]
        guess = tried[-1].rate_rps or 0.0
        found = None
        for _ in range(2):
            found = sustained_rate(whole, q.slo, q.workload, guess, q.trace)
            if found is None:
                break
            guess = found.rate_rps
        if found is None:  # nothing but early stops
            return Sustained(min(failed) / 1.5, 0.3, "early stop", False) if failed else None
        if ceiling is not None and found.rate_rps >= ceiling.rate_rps:
            near = max((p.rate_rps for p in whole), default=0.0) >= NEAR_CEILING * self.ceiling
            return ceiling if near else replace(found, rate_rps=self.ceiling)
        return found

    def loaded(self, rate_rps: float) -> float:
        """A rate over the saturation throughput; 0 where that is not known."""
        cap = self.saturated
        return rate_rps / cap.rate_rps if cap else 0.0

    @property
    def lost(self) -> float:
        """Lowest rate whose probe failed too soon, or with too long a queue, to be fitted."""
        kept = {probe.rate_rps for probe in self.open_probes()}
        failed = [p.rate_rps for p in self.of("open", "certify") if p.verdict == "fail"]
        return min((r for r in failed if r is not None and r not in kept), default=math.inf)

    @property
    def floor(self) -> float:
        """Below this rate a server that fails holds no rate at all."""
        return FLOOR * 1e3 / self.of("closed")[-1].measurement.mean_e2e_ms

    def latency_s(self, rate: float) -> float:
        """Mean latency that is expected at a rate."""
        opened = [p for p in self.open_probes() if p.rate_rps / 1.3 <= rate <= p.rate_rps * 1.3]
        if opened:
            return min(opened, key=lambda p: abs(math.log(p.rate_rps / rate))).mean_e2e_s
        loops = [
            (probe.concurrency or 1, probe.measurement.mean_e2e_ms / 1e3)
            for probe in self.of("closed", "scan")
            if probe.measurement.completed
        ]
        # Little's law: the closed loop whose throughput is nearest to the rate
        return min(loops, key=lambda loop: abs(math.log(loop[0] / loop[1] / rate)))[1]


def open_probe(rate: float, load: Load, timings: Timings, measured: Measurement) -> OpenProbe:
    """What a fit takes of a probe."""
    return OpenProbe(rate, load, timings, max(measured.mean_e2e_ms, 0.1) / 1e3)
