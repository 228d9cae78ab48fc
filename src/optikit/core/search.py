"""What every method of rate search is asked and what it answers; the methods are its siblings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from optikit.core.load import Load
from optikit.core.timings import Timings
from optikit.core.verdict import Judgement
from optikit.errors import BadInput
from optikit.spec.job import MethodChoice
from optikit.spec.record import Measurement, Phase, Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload

__all__ = [
    "CERTIFIED_REQUESTS",
    "CLOSED_REQUESTS",
    "FLOOR",
    "ProbeRequest",
    "Question",
    "RateSearch",
    "Watch",
    "probe_seed",
]

CLOSED_REQUESTS = 10
"""Requests of the closed loop: enough to see a latency without queueing."""
CERTIFIED_REQUESTS = 1000
"""Method ``doubling``: below this many requests at the certified rate a result is preliminary."""
FLOOR = 1 / 16
"""A server that fails at this fraction of its rate without queueing holds no rate: fifteen
sixteenths of the time it is idle."""

Watch = Callable[[Timings], bool]
"""Looks at a probe that is going on; True: it need not go on."""


@dataclass(frozen=True)
class Question:
    """What a rate is searched for.

    Args:
        start_rps: a rate that is thought to be near, such as an incumbent's.
        seed: of all probes; None: the workload's.
        max_num_seqs: seats of the server, where they are known.
        trace: rows of the file that the workload names.
        certify: end with probes at the rate that ships; else the estimate is the answer, which is
            enough to compare configurations and takes fewer requests.

    Raises:
        BadInput: the SLO bounds what the workload does not have, or ``start_rps`` is no rate.
    """

    method: MethodChoice
    workload: Workload
    slo: Slo
    start_rps: float | None = None
    seed: int | None = None
    max_num_seqs: int | None = None
    trace: Trace | None = None
    certify: bool = True

    def __post_init__(self) -> None:
        longest = self.workload.output_tokens.high if self.trace is None else 2
        if longest < 2 and {"tpot", "itl"} & self.slo.metrics:
            raise BadInput(
                f"the SLO ({self.slo}) bounds the time between output tokens, and the workload "
                "has output_tokens: 1; bound ttft or e2e, or ask for more tokens"
            )
        if self.start_rps is not None and not (0 < self.start_rps < math.inf):
            raise BadInput(f"start_rps is {self.start_rps}; it must be a rate above 0")

    @property
    def base_seed(self) -> int:
        """Seed that every probe's is made of."""
        return self.workload.seed if self.seed is None else self.seed


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A probe to run: ``concurrency`` is set in a closed loop, ``rate_rps`` in an open one."""

    number: int
    """Counts from 1."""
    phase: Phase
    requests: int
    """Measured requests."""
    seed: int
    concurrency: int | None = None
    rate_rps: float | None = None
    before: int = 0
    """Requests that fill the server up first."""
    after: int = 0
    """Requests that keep the load on it until the measured ones have ended."""


class RateSearch(Protocol):
    """Decides which probe is next and what it showed; pure: no clock, no network, no sleep."""

    def ask(self) -> ProbeRequest | None:
        """The next probe, the same one until it is told; None: the search has ended."""

    def watch(self, request: ProbeRequest) -> Watch | None:
        """What may end this probe early; None: nothing."""

    def judge(
        self, request: ProbeRequest, load: Load, timings: Timings, measurement: Measurement
    ) -> tuple[Judgement, Measurement]:
        """The verdict on a probe, and its measurement with the evidence that decided."""

    def tell(self, probe: Probe, load: Load | None = None, timings: Timings | None = None) -> None:
        """A probe with its verdict, asked for now or by an earlier run of the same search."""

    def result(self, stopped: str | None = None) -> RateResult:
        """What is known by now.

        Args:
            stopped: why the caller asks no further, where the search itself had not ended.
        """


def probe_seed(base: int, number: int) -> int:
    """Seed of a search's ``number``-th probe: fresh for each, the same at every repetition."""
    return int(np.random.SeedSequence((base, number)).generate_state(1)[0])
