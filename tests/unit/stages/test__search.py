"""The rules of a search between sampler and runner: what is set aside comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from optikit.core.foresight import predictor_of, space_of
from optikit.core.space import Point
from optikit.errors import EngineDied, EngineStartFailed, NoKernel, OptikitError, WorkerDied
from optikit.runners.base import Launch
from optikit.spec.candidate import ArtifactRef
from optikit.spec.record import RateResult, Trial
from optikit.spec.slo import Slo
from optikit.stages._search import TrialSearch, outcome_of
from optikit.tuners.base import Outcome
from tests.specs import small_plan

MODEL = ArtifactRef(kind="model", digest="sha256:" + "a" * 64, path="/m", size_bytes=1)


@dataclass
class Listed:
    """Asks for given points, hears results."""

    points: list[Point]
    told: list[tuple[Point, Outcome]] = field(default_factory=list)

    def ask(self) -> Point | None:
        return self.points.pop(0) if self.points else None

    def tell(self, point: Point, outcome: Outcome) -> None:
        self.told.append((point, outcome))


@dataclass
class Avoids:
    """A failure model that knows what to avoid."""

    seats: set[int]

    def avoid(self, point: Point) -> bool:
        return point["max_num_seqs"] in self.seats

    def avoided(self, points: list[Point]) -> list[bool]:
        return [self.avoid(point) for point in points]

    def learn(self, point: Point, cause: str | None) -> None:
        pass


class Tools:
    """A journal that remembers, and nothing else."""

    def __init__(self) -> None:
        self.journal = self
        self.events: list[str] = []

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append(kind)

    def remaining_s(self) -> float:
        return 1e6

    def without_pool(self) -> Tools:
        return self


def search(seats: list[int], avoided: set[int]) -> tuple[TrialSearch, Listed, Avoids, Tools]:
    plan = small_plan()
    space = space_of(plan, "baseline")
    points: list[Point] = [
        {"tensor_parallel": 1, "max_num_seqs": one, "max_num_batched_tokens": 2048} for one in seats
    ]
    study, tools, model = Listed(points), Tools(), Avoids(avoided)
    made = TrialSearch(
        tools=cast(Any, tools),
        plan=plan,
        variant="baseline",
        model=MODEL,
        space=space,
        storage=Path("/nowhere"),
        study=study,
        prior=predictor_of(plan, "baseline", space),
        known=(),
        earlier=(),
        first=0,
        count=10,
        certify=True,
        race=False,
    )
    made._failures = cast(Any, model)
    return made, study, model, tools


def answered(made: TrialSearch, launch: Launch) -> int:
    """The trial ends well; its seats."""
    ask = launch.args[2]
    trial = Trial(
        id=ask.trial_id,
        number=ask.number,
        purpose="tune",
        variant="baseline",
        state="complete",
        model_digest=MODEL.digest,
        serving=ask.serving,
    )
    made.done(launch, trial, 1.0)
    found: int = ask.serving.max_num_seqs
    return found


def seats_of(made: TrialSearch) -> int | None:
    """Seats of the next trial, which runs to its end; None: there is none."""
    launch = made.next(1)
    if launch is None:
        return None
    made.start(launch)
    return answered(made, launch)


def test_what_would_fail_is_passed_over_and_not_told_as_a_failure() -> None:
    made, study, _, tools = search([4, 16, 64], {16})
    assert [seats_of(made) for _ in range(3)] == [4, 64, None]
    assert made.avoided == 1
    assert tools.events.count("avoided") == 1
    assert [point["max_num_seqs"] for point, _ in study.told] == [4, 64]


def test_what_was_set_aside_is_tried_once_a_result_says_that_it_runs() -> None:
    made, _, model, _ = search([4, 16, 64, 128], {16})
    assert [seats_of(made) for _ in range(2)] == [4, 64]
    model.seats.clear()
    assert [seats_of(made) for _ in range(3)] == [128, 16, None]
    assert made.avoided == 0


def test_what_was_taken_back_waits_again_where_a_result_since_closed_it() -> None:
    made, _, model, _ = search([4, 16, 32, 64, 128], {16, 32})
    assert [seats_of(made) for _ in range(2)] == [4, 64]
    model.seats.clear()
    assert [seats_of(made) for _ in range(2)] == [128, 16]
    model.seats.add(32)
    assert seats_of(made) is None
    assert made.avoided == 1


def test_a_used_up_search_goes_on_where_the_last_result_reopens_a_point() -> None:
    made, _, model, _ = search([4, 16], {16})
    running = made.next(1)
    assert running is not None
    made.start(running)
    assert made.next(1) is None
    assert made.finished
    model.seats.clear()
    assert answered(made, running) == 4
    assert not made.finished
    assert [seats_of(made), seats_of(made)] == [16, None]
    assert made.finished


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (EngineDied("killed", cause="out of memory"), 2),  # whoever killed it: it had run
        (WorkerDied("gone"), 2),
        (EngineStartFailed("slow", cause="timeout"), 2),
        (EngineStartFailed("no room", cause="out of memory"), 1),
        (NoKernel("none"), 1),
    ],
)
def test_only_a_start_that_failed_by_its_configuration_is_not_tried_again(
    error: OptikitError, attempts: int
) -> None:
    made, _, _, _ = search([4], set())
    for number in range(1, attempts + 1):
        launch = made.next(1)
        assert launch is not None, f"attempt {number}"
        made.start(launch)
        made.done(launch, error, 1.0)
    assert made.next(1) is None
    (trial,) = made.trials
    assert (trial.state, trial.attempts) == ("failed", attempts)


def test_a_sampler_is_told_rates_whatever_a_device_costs() -> None:
    rate = RateResult(
        outcome="pass",
        rate_rps=12.0,
        preliminary=True,
        reason="",
        method="adjusted",
        requests=1,
    )
    trial = Trial(
        id="t",
        number=0,
        purpose="tune",
        variant="baseline",
        state="complete",
        model_digest="d",
        serving=small_plan().serving,
        rate=rate,
        fitness=4.0,  # at a price of 3
    )
    assert outcome_of(trial, Slo(), 1.0).fitness == 12.0
    pruned = trial.model_copy(
        update={
            "state": "pruned",
            "must_beat_rps": 20.0,
            "fitness": None,
            "rate": rate.model_copy(update={"outcome": "inconclusive", "rate_rps": None}),
        }
    )
    assert outcome_of(pruned, Slo(), 1.0).fitness == 20.0
