"""A rate search that is given up once its configuration cannot win.

The best configuration so far holds some rate per device. Another one is asked for that rate, scaled
to its own devices, in its first open probe: where it surely fails there, nothing is left to learn
that could make it the winner, and the search ends after that one probe. It ends before it where
what was seen without queueing already bounds the rate from above.
"""

from __future__ import annotations

import math

from optikit.core.load import Load
from optikit.core.search import ProbeRequest, Question, RateSearch, Watch
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement
from optikit.spec.record import Measurement, Probe, RateResult

__all__ = ["SLACK", "Raced", "pruned_fitness"]

SLACK = 0.05
"""The incumbent's rate is itself measured: what comes within this share of it may still win."""
LARGEST_EXCESS = 9.0


class Raced:
    """See :class:`RateSearch` and the module.

    Args:
        search: of the same question, beginning at ``must_beat_rps``.
        must_beat_rps: the incumbent's rate for as many devices as this configuration uses.
    """

    def __init__(self, search: RateSearch, question: Question, must_beat_rps: float) -> None:
        self._search = search
        self._question = question
        self._must = self._most = must_beat_rps
        self.lost: str | None = None
        """Why the configuration cannot win; None: it may."""

    def ask(self) -> ProbeRequest | None:
        """See :class:`RateSearch`; None also where the race is lost."""
        return None if self.lost else self._search.ask()

    def watch(self, request: ProbeRequest) -> Watch | None:
        """See :class:`RateSearch`."""
        return self._search.watch(request)

    def judge(
        self, request: ProbeRequest, load: Load, timings: Timings, measurement: Measurement
    ) -> tuple[Judgement, Measurement]:
        """See :class:`RateSearch`."""
        return self._search.judge(request, load, timings, measurement)

    def tell(self, probe: Probe, load: Load | None = None, timings: Timings | None = None) -> None:
        """See :class:`RateSearch`."""
        self._search.tell(probe, load, timings)
        need = self._must * (1 - SLACK)
        if probe.phase == "closed" and probe.measurement.completed:
            seats = self._question.max_num_seqs
            # a full batch is never faster than a lone request: Little's law bounds the rate
            most = None if seats is None else seats * 1e3 / probe.measurement.mean_e2e_ms
            if most is not None and most < need:
                self._most = most
                self.lost = (
                    f"{seats} requests at once of {probe.measurement.mean_e2e_ms:.4g} ms each are "
                    f"at most {most:.4g} req/s; {self._must:.4g} had to be beaten"
                )
        elif probe.phase in ("open", "certify") and probe.verdict == "fail":
            if probe.rate_rps is not None and probe.rate_rps <= self._must * (1 + 1e-9):
                self.lost = (
                    f"fails at {probe.rate_rps:.4g} req/s, the best trial's rate for as many "
                    f"devices: {probe.reason}"
                )
        elif probe.phase == "scan":
            cap = self._search.result().saturation_rps
            if cap is not None and cap < need:
                self._most = cap
                self.lost = f"saturates at {cap:.4g} req/s; {self._must:.4g} had to be beaten"

    def result(self, stopped: str | None = None) -> RateResult:
        """What is known; of a lost race an estimate at most."""
        found = self._search.result(stopped)
        if self.lost is None or found.outcome == "infeasible":
            return found
        return found.model_copy(
            update={
                "outcome": "inconclusive",
                "rate_rps": None,
                "rate_high_rps": min(found.rate_high_rps or self._most, self._most),
                "preliminary": True,
                "reason": f"pruned: {self.lost}",
            }
        )


def pruned_fitness(rate: RateResult, must_beat_rps: float, devices: int) -> float:
    """What a sampler is told of a lost race, in requests per second and device.

    The upper bound that was found, over the square root of how far the worst share over a limit
    exceeds the allowed one there (at most tenfold), so that one which failed by far does not look
    like a near miss.
    """
    failed = [p for p in rate.probes if p.verdict == "fail" and p.rate_rps is not None]
    excess = max(
        (b.share / b.allowed - 1 for p in failed for b in p.measurement.bounds if b.allowed > 0),
        default=0.0,
    )
    most = min(rate.rate_high_rps or must_beat_rps, must_beat_rps)
    return most / math.sqrt(1 + min(max(excess, 0.0), LARGEST_EXCESS)) / devices
