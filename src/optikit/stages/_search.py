"""One variant's search, as a runner drives it: it says which trial is next, and hears the answer.

Between sampler and runner it keeps the rules of a trial: what would surely fail is not started;
what failed by no fault of its configuration is tried once more on a fresh worker; a later trial has
to hold the best rate per device so far, or is pruned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optikit.core.failures import FailureModel
from optikit.core.fitness import best, fitness, margin
from optikit.core.predict import Prediction
from optikit.core.racing import pruned_fitness
from optikit.core.space import Point, Space
from optikit.errors import OptikitError
from optikit.runners.base import Launch
from optikit.spec.candidate import ArtifactRef
from optikit.spec.plan import Plan
from optikit.spec.record import Trial, Variant
from optikit.spec.slo import Slo
from optikit.stages._measure import (
    Ask,
    again,
    launched,
    measure_here,
    must_have_run,
    settled,
)
from optikit.stages.base import Tools, resources_for
from optikit.tuners.base import Outcome, Prior, Study

__all__ = ["TrialSearch", "outcome_of"]

HOPELESS = 3
"""So many trials, the default included, that all failed in the engine end the search."""
_AVOIDED_IN_A_ROW = 200
"""So many proposals that would fail, one after the other, end the search."""


def outcome_of(trial: Trial, slo: Slo, weight: float) -> Outcome:
    """What a sampler is told of a trial: always per device, whatever a device costs.

    Args:
        weight: the job's lambda.
    """
    devices, value = trial.serving.devices, None
    if trial.rate is not None and trial.state == "complete":
        value = fitness(trial.rate, devices, slo, weight)
    elif trial.rate is not None and trial.must_beat_rps is not None:
        value = pruned_fitness(trial.rate, trial.must_beat_rps, devices)
    closed = (
        next((p for p in trial.rate.probes if p.phase == "closed"), None) if trial.rate else None
    )
    alone = closed.measurement if closed else None
    ttft = alone.quantile("ttft", 50.0) if alone else None
    tpot = alone.quantile("tpot", 50.0) if alone else None
    return Outcome(
        fitness=value,
        state=trial.state,
        rate_per_device=None if trial.rate_rps is None else trial.rate_rps / devices,
        margin=margin(trial.rate, slo) if trial.rate is not None else None,
        ttft_ms=ttft.value_ms if ttft else None,
        tpot_ms=tpot.value_ms if tpot else None,
        cost_s=trial.device_seconds or None,
        cause=trial.cause,
    )


@dataclass
class TrialSearch:
    """See ``runners.base.Search``.

    Args:
        storage: where the sampler keeps what is its own.
        known: trials of this variant that the stages before measured: the default's.
        earlier: trials of this very search, from before it was ended and resumed.
        first: number of the first new trial.
        count: how many new trials there may be.
        race: whether trials may be pruned.
    """

    tools: Tools
    plan: Plan
    variant: Variant
    model: ArtifactRef
    space: Space
    storage: Path
    study: Study
    prior: Prior
    known: Sequence[Trial]
    earlier: Sequence[Trial]
    first: int
    count: int
    certify: bool
    race: bool
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._failures = FailureModel(self.space)
        self._asks: dict[str, tuple[Ask, Point, int]] = {}
        self._again: deque[Launch] = deque()
        self._given = 0
        self._used_up = False
        self._aside: list[Point] = []
        self._reopened: deque[Point] = deque()
        for trial in (*self.known, *self.earlier):
            self._learn(trial, self.space.point_of(trial.serving))

    # -- what the runner asks

    @property
    def finished(self) -> bool:
        """Nothing is left to start."""
        if self._again:
            return False
        return self._given >= self.count or (self._used_up and not self._reopened)

    @property
    def folder(self) -> Path:
        """Where a runner may keep a state of its own."""
        return self.storage / "runner"

    def next(self, free: int) -> Launch | None:
        """The next trial; None: there is none.

        Raises:
            StageFailed: the engine failed in every trial so far.
            BudgetExceeded: the job's time is up.
        """
        if self._again:
            return self._again.popleft()
        seen = self._seen()
        if len(seen) >= HOPELESS:
            must_have_run(seen)
        self.tools.journal.remaining_s()
        if self.finished:
            return None
        point = self._proposed()
        if point is None:
            return None
        number = self.first + self._given
        self._given += 1
        expected = self.prior.predict(point)
        ask = self._ask(number, point, expected)
        self._asks[ask.trial_id] = (ask, point, 1)
        devices = ask.serving.devices
        return Launch(
            trial_id=ask.trial_id,
            devices=devices,
            resources=resources_for(self.plan, devices),
            expected_s=expected.trial_s,
            task=measure_here,
            args=(self.tools.without_pool(), self.plan, ask),
        )

    def start(self, launch: Launch) -> None:
        """The trial begins."""
        launched(self.tools.journal, self._asks[launch.trial_id][0])

    def done(self, launch: Launch, answer: Trial | OptikitError, occupied_s: float) -> None:
        """The trial answered, or its worker did not.

        Raises:
            OptikitError: what is no fault of the trial, such as a port that somebody else has.
        """
        ask, point, number = self._asks[launch.trial_id]
        trial = settled(self.tools.journal, ask, answer, number, occupied_s)
        if trial is None:
            self._asks[ask.trial_id] = (ask, point, number + 1)
            self._again.append(again(launch, number))
            return
        self.trials.append(trial)
        self.study.tell(point, self._learn(trial, point))
        self._look_again()

    def _seen(self) -> list[Trial]:
        return [*self.known, *self.earlier, *self.trials]

    # -- what is next

    def _proposed(self) -> Point | None:
        """The sampler's next point that is not expected to fail.

        What is expected to fail is set aside, not given up: later trials may show otherwise.
        """
        while self._reopened:
            again = self._reopened.popleft()
            if not self._failures.avoid(again):  # a trial since may have closed it again
                return again
            self._aside.append(again)
        for _ in range(_AVOIDED_IN_A_ROW):
            point = self.study.ask()
            if point is None:
                self._used_up = True
                return None
            if not self._failures.avoid(point):
                return point
            self._aside.append(point)
            self.tools.journal.event("avoided", point=dict(point), variant=self.variant)
        return None

    def _look_again(self) -> None:
        """Take back what was set aside and is no longer expected to fail."""
        if self._aside:
            still = self._failures.avoided(self._aside)
            self._reopened += [p for p, bad in zip(self._aside, still, strict=True) if not bad]
            self._aside = [p for p, bad in zip(self._aside, still, strict=True) if bad]

    @property
    def avoided(self) -> int:
        """Proposals that were never started."""
        return len(self._aside)

    def _ask(self, number: int, point: Point, expected: Prediction) -> Ask:
        serving = self.space.serving(point)
        incumbent = best(self._seen())
        scaled = None
        if incumbent is not None and incumbent.rate_rps is not None:
            scaled = incumbent.rate_rps * serving.devices / incumbent.serving.devices
        return Ask(
            trial_id=f"t{number:02d}-{self.variant}",
            number=number,
            purpose="tune",
            variant=self.variant,
            model=self.model,
            serving=serving,
            start_rps=expected.rate_rps if expected.rate_rps > 0 else scaled,
            must_beat_rps=scaled if self.race else None,
            certify=self.certify,
            predicted_rps=expected.rate_rps,
        )

    def _learn(self, trial: Trial, point: Point) -> Outcome:
        job = self.plan.job
        outcome = outcome_of(trial, job.slo, job.tuner.slo_penalty_weight)
        if trial.cause != "occupied":  # somebody else's memory: no configuration is to blame
            cause = (trial.cause or "crash") if trial.state == "failed" else None
            self._failures.learn(point, cause)
        self.prior.learn(point, outcome)
        return outcome
