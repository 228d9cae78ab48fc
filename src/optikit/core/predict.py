"""What a serving config will do, before it is measured: the prior of the search.

A prediction is the simulated engine's answer (``expected.py`` over the step times of a roofline, or
of any other source), corrected by the trials seen so far: measured latencies without queueing
correct the terms of a step, and what is then still off in the margin and in the rate is a line in
logarithms, at each tensor-parallel degree (``corrections.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from optikit.core.corrections import Line, StepFact, StepFactors, fit_line, fit_step_factors
from optikit.core.expected import Answer, answer
from optikit.core.fit import fit
from optikit.core.simulate import SimulatedServer
from optikit.core.space import Point, PointKey, Space, key_of
from optikit.core.steptimes import StepTimes, roofline
from optikit.errors import DoesNotFit
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload

__all__ = ["Observed", "Prediction", "Predictor", "search_s"]

LONE_REQUESTS, SEARCH_REQUESTS = 20, 3000
"""Requests that a rate search sends one at a time, and what it sends at about the rate it finds;
the order of size of what ``benchmarks/rate_search.py`` counts."""
MOST_SEARCH_S = 3600.0
TEARDOWN_S = 5.0
_RATE_NOISE, _MARGIN_NOISE = 0.05, 0.02
"""Standard deviations of log(measured rate) and of a measured margin."""
_AGAIN = 0.05
"""Factors on a step's terms that moved by less are not worth simulating anew."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Expected of one configuration; a model's figures, never a measurement."""

    rate_rps: float
    """Sustainable rate under the SLO; 0: none is."""
    rate_per_device: float
    margin: float
    """log(limit / value) of the SLO's tightest bound without queueing; inf without an SLO, -inf
    where the configuration cannot stand."""
    e2e_ms: float
    """Of one request alone."""
    ttft_ms: float
    tpot_ms: float
    trial_s: float
    """Wall time of a trial: start-up, rate search and teardown."""


class Observed(Protocol):
    """What of a trial's outcome corrects predictions; see ``tuners.base.Outcome``."""

    @property
    def state(self) -> str: ...
    @property
    def rate_per_device(self) -> float | None: ...
    @property
    def margin(self) -> float | None: ...
    @property
    def ttft_ms(self) -> float | None: ...
    @property
    def tpot_ms(self) -> float | None: ...


def search_s(rate_rps: float, e2e_ms: float) -> float:
    """Seconds of a rate search: the requests alone, and where a rate holds those at that rate."""
    alone = LONE_REQUESTS * e2e_ms / 1e3
    return min(alone + (SEARCH_REQUESTS / rate_rps if rate_rps > 0 else 0.0), MOST_SEARCH_S)


class Predictor:
    """The prior of one variant's search; see ``tuners.base.Prior``.

    Figures that the simulation does not know the effect of (``block_size`` and the like) leave a
    prediction as it is.

    Args:
        space: says which serving config a point is.
        start_s: start of a server, in seconds; or what says it of a serving config.
        trace: the workload's, where it names one.
        step_times: where a step's seconds come from; None: the roofline.

    Raises:
        DoesNotFit: the device lacks the recipe's compute dtype, so that nothing is known of it.
    """

    def __init__(
        self,
        shape: ModelShape,
        recipe: RecipeFacts | None,
        sku: SkuFacts,
        workload: Workload,
        slo: Slo,
        space: Space,
        *,
        start_s: float | Callable[[ServingConfig], float],
        trace: Trace | None = None,
        step_times: Callable[[ServingConfig], StepTimes] | None = None,
    ) -> None:
        self._shape, self._recipe, self._sku = shape, recipe, sku
        self._workload, self._slo, self._space = workload, slo, space
        self._trace = trace
        self._lengths = workload if trace is None else workload.with_lengths_of(trace)
        self._start_s = start_s
        self._step_times = step_times or (lambda serving: roofline(shape, recipe, sku, serving))
        self.source = self._step_times(space.default).source
        """Where the step times come from."""
        self._servings: dict[PointKey, tuple[ServingConfig, str]] = {}
        self._answers: dict[tuple[str, StepFactors], Answer | None] = {}
        self._observed: dict[PointKey, tuple[Point, Observed]] = {}
        self._factors: dict[int, StepFactors] = {0: StepFactors()}
        self._margins = self._rates = Line()
        self._stale = False

    def predict(self, point: Point) -> Prediction:
        """See :class:`Prediction`; the same until something is learnt."""
        self._correct()
        serving, _ = self._serving(point)
        start_s = self._start_s(serving) if callable(self._start_s) else self._start_s
        found = self._answer(point)
        if found is None:
            return Prediction(
                rate_rps=0.0,
                rate_per_device=0.0,
                margin=-math.inf,
                e2e_ms=0.0,
                ttft_ms=0.0,
                tpot_ms=0.0,
                trial_s=start_s + TEARDOWN_S,
            )
        margin, faster = self._margin(serving, found)
        rate = self._replica_rate(found, faster) * serving.data_parallel
        if rate > 0:
            per_device = math.log(rate / serving.devices)
            rate = serving.devices * math.exp(self._rates.at(serving.tensor_parallel, per_device))
        e2e = found.e2e_ms * math.exp(-faster)
        return Prediction(
            rate_rps=rate,
            rate_per_device=rate / serving.devices,
            margin=margin,
            e2e_ms=e2e,
            ttft_ms=found.ttft_ms * math.exp(-faster),
            tpot_ms=found.tpot_ms * math.exp(-faster),
            trial_s=start_s + search_s(rate, e2e) + TEARDOWN_S,
        )

    def learn(self, point: Point, outcome: Observed) -> None:
        """Correct the next predictions; the last word on a point counts."""
        self._observed[key_of(point)] = (dict(point), outcome)
        self._stale = True

    def anew(self) -> Predictor:
        """A predictor that has learnt nothing; what was simulated need not be again."""
        found = Predictor(
            self._shape,
            self._recipe,
            self._sku,
            self._workload,
            self._slo,
            self._space,
            start_s=self._start_s,
            trace=self._trace,
            step_times=self._step_times,
        )
        found._servings, found._answers = self._servings, self._answers
        return found

    def _margin(self, serving: ServingConfig, found: Answer) -> tuple[float, float]:
        """The corrected margin, and by how much that is above the simulated one."""
        if math.isinf(found.lone_excess):
            return math.inf, 0.0
        margin = self._margins.at(serving.tensor_parallel, -found.lone_excess)
        return margin, margin + found.lone_excess

    def _replica_rate(self, found: Answer, faster: float) -> float:
        """All latencies shorter by one factor: as if time itself ran faster."""
        return found.rate_rps(faster) * math.exp(faster)

    def _serving(self, point: Point) -> tuple[ServingConfig, str]:
        """The point's serving config, and what is the same for all that are simulated alike."""
        key = key_of(point)
        if key not in self._servings:
            serving = self._space.serving(point)
            self._servings[key] = (serving, _telling(serving).digest)
        return self._servings[key]

    def _answer(self, point: Point, factors: StepFactors | None = None) -> Answer | None:
        serving, alike = self._serving(point)
        if factors is None:
            factors = self._factors.get(serving.tensor_parallel, self._factors[0])
        key = (alike, factors)
        if key not in self._answers:
            self._answers[key] = self._simulated(serving, factors)
        return self._answers[key]

    def _simulated(self, serving: ServingConfig, factors: StepFactors) -> Answer | None:
        """One replica's answer; None: it cannot stand."""
        stands = fit(self._shape, self._recipe, self._sku, serving)
        if not stands.fits:
            return None
        server = SimulatedServer(
            times=factors.applied(self._step_times(serving)),
            max_num_seqs=serving.max_num_seqs,
            max_num_batched_tokens=serving.max_num_batched_tokens,
            kv_tokens=stands.kv_tokens,
            noise=0.0,
        )
        try:
            return answer(server, self._workload, self._slo, self._trace)
        except DoesNotFit:
            return None

    def _correct(self) -> None:
        """Fit the corrections anew, each on what those before it leave."""
        if not self._stale:
            return
        self._stale = False
        ran = [(p, o) for p, o in self._observed.values() if o.state != "failed"]
        self._correct_steps(ran)
        known = [(self._serving(p)[0], o, a) for p, o in ran if (a := self._answer(p)) is not None]
        margins = [
            (s.tensor_parallel, -a.lone_excess, o.margin)
            for s, o, a in known
            if o.margin is not None and math.isfinite(a.lone_excess) and math.isfinite(o.margin)
        ]
        self._margins = fit_line(*_columns(margins), _MARGIN_NOISE)
        rates = []
        for serving, outcome, found in known:
            measured = outcome.rate_per_device
            _, faster = self._margin(serving, found)
            expected = self._replica_rate(found, faster) / serving.tensor_parallel
            if outcome.state == "complete" and measured and measured > 0 and expected > 0:
                rates.append((serving.tensor_parallel, math.log(expected), math.log(measured)))
        self._rates = fit_line(*_columns(rates), _RATE_NOISE)

    def _correct_steps(self, ran: list[tuple[Point, Observed]]) -> None:
        facts = []
        for point, outcome in ran:
            found = self._answer(point, StepFactors())
            if found is None:
                continue
            serving, _ = self._serving(point)
            ttft = _pair(found.ttft_ms, outcome.ttft_ms)
            tpot = _pair(found.tpot_ms, outcome.tpot_ms)
            if ttft is not None or tpot is not None:
                times, batched = self._step_times(serving), serving.max_num_batched_tokens
                facts.append(StepFact(serving.tensor_parallel, times, batched, ttft, tpot))
        if not facts:
            return
        step_s = facts[0].times.step_s
        for degree, factors in fit_step_factors(facts, self._lengths).items():
            held = self._factors.get(degree)
            if held is None or not factors.near(held, _AGAIN, step_s):
                self._factors[degree] = factors.rounded(step_s)


def _pair(predicted_ms: float, measured_ms: float | None) -> tuple[float, float] | None:
    """Both in seconds, where both are there."""
    if measured_ms is None or not 0 < measured_ms < math.inf or predicted_ms <= 0:
        return None
    return predicted_ms / 1e3, measured_ms / 1e3


def _columns(
    rows: list[tuple[int, float, float]],
) -> tuple[list[int], list[float], list[float]]:
    return [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]


def _telling(serving: ServingConfig) -> ServingConfig:
    """What the simulation sees of a config: of equal ones one is simulated."""
    plain = {"block_size": None, "scheduling_policy": "fcfs", "speculative_ngram": 0}
    plain |= {"enable_prefix_caching": False, "enforce_eager": False, "data_parallel": 1}
    return serving.model_copy(update={**plain, "extra_flags": ()})
