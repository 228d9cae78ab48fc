"""The search on the residuals to a prediction: where it begins, what it learns and keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from optikit.core.predict import Prediction
from optikit.core.space import Point, PointKey, Space, key_of
from optikit.errors import ArchiveError, BadInput
from optikit.spec.serving import ServingConfig
from optikit.spec.space import Dimension
from optikit.tuners._candidates import LOOKED_AT, Candidates
from optikit.tuners._residuals import Fact, ResidualModel
from optikit.tuners.base import Outcome, Seen, Study
from optikit.tuners.gp_prior import TUNER

DEFAULT = ServingConfig(max_model_len=1024)
DIMENSIONS = (
    Dimension(name="tensor_parallel", values=(1, 2, 4, 8), log=True),
    Dimension(name="max_num_seqs", values=(16, 32, 64, 128, 256), log=True),
    Dimension(name="max_num_batched_tokens", values=(1024, 2048, 4096, 8192), log=True),
)
SPACE = Space(DIMENSIONS, lambda serving: None, DEFAULT)


def at(tp: int = 2, seqs: int = 64, batched: int = 2048) -> dict[str, int]:
    return {"tensor_parallel": tp, "max_num_seqs": seqs, "max_num_batched_tokens": batched}


def truth(point: Point) -> float:
    """Rate per device: best with two devices and 64 requests at once."""
    tp, seqs = float(point["tensor_parallel"]), float(point["max_num_seqs"])
    batched = float(point["max_num_batched_tokens"])
    away = 0.3 * (math.log2(tp) - 1) ** 2 + 0.06 * (math.log2(seqs) - 6) ** 2
    return 4.0 * math.exp(-away - 0.03 * (math.log2(batched) - 11) ** 2)


@dataclass
class Guess:
    """A prior that is off by a factor a point; ``asked`` counts what it predicted."""

    off: Callable[[Point], float] = lambda point: 1.0
    margin: Callable[[Point], float] = lambda point: 1.0
    trial_s: Callable[[Point], float] = lambda point: 300.0
    asked: list[Point] = field(default_factory=list)
    learnt: int = 0

    def predict(self, point: Point) -> Prediction:
        self.asked.append(point)
        margin = self.margin(point)
        rate = truth(point) * self.off(point) if margin > 0 else 0.0
        return Prediction(
            rate_rps=rate * float(point["tensor_parallel"]),
            rate_per_device=rate,
            margin=margin,
            e2e_ms=100.0,
            ttft_ms=10.0,
            tpot_ms=1.0,
            trial_s=self.trial_s(point),
        )

    def learn(self, point: Point, outcome: Outcome) -> None:
        self.learnt += 1


def started(folder: Path, prior: Guess | None = None, seed: int = 0, **more: object) -> Study:
    return TUNER.start(SPACE, seed, folder, prior=prior or Guess(), **more)  # type: ignore[arg-type]


def good(point: Point, rate: float | None = None, margin: float | None = None) -> Outcome:
    rate = truth(point) if rate is None else rate
    return Outcome(rate, rate_per_device=rate, margin=margin)


def run(study: Study, count: int, outcome: Callable[[Point], Outcome] = good) -> list[Point]:
    found: list[Point] = []
    for _ in range(count):
        point = study.ask()
        assert point is not None
        found.append(point)
        study.tell(point, outcome(point))
    return found


def regret(points: list[Point]) -> float:
    return 1 - max(truth(point) for point in points) / max(map(truth, SPACE.points()))


# ---- where it begins


def test_it_begins_at_the_predicted_best(tmp_path: Path) -> None:
    assert started(tmp_path).ask() == at(2, 64, 2048)


def test_points_at_once_differ_in_degree_where_predictions_are_near(tmp_path: Path) -> None:
    study = started(tmp_path, Guess(off=lambda p: 1.3 if p["tensor_parallel"] == 4 else 1.0))
    first = [study.ask() for _ in range(4)]
    assert {point["tensor_parallel"] for point in first if point} >= {2, 4}


def test_without_a_prior_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs predictions"):
        TUNER.start(SPACE, 0, tmp_path)


# ---- what it learns


def test_a_right_prior_is_followed(tmp_path: Path) -> None:
    assert regret(run(started(tmp_path), 3)) == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_degree_that_is_worse_than_predicted_is_left(seed: int, tmp_path: Path) -> None:
    wrong = {1: 1.3, 2: 0.85, 4: 1.2, 8: 1.1}
    prior = Guess(off=lambda p: wrong[int(p["tensor_parallel"])])
    assert regret(run(started(tmp_path, prior, seed), 8)) < 0.02


def test_a_prior_without_a_clue_still_beats_chance(tmp_path: Path) -> None:
    prior = Guess(off=lambda p: 1 / truth(p))
    found = [regret(run(started(tmp_path / str(seed), prior, seed), 20)) for seed in range(3)]
    points = SPACE.points()
    chance = np.random.default_rng(0)
    drawn = [regret([points[i] for i in chance.permutation(len(points))[:20]]) for _ in range(200)]
    assert np.mean(found) < np.mean(drawn)


def test_a_constant_factor_changes_nothing(tmp_path: Path) -> None:
    """Dollars instead of requests: the objective is another one by a factor."""
    plain = run(started(tmp_path / "a"), 8)
    priced = run(started(tmp_path / "b"), 8, lambda p: good(p, truth(p) / 3.5))
    assert regret(priced) == regret(plain) == 0


def test_where_the_margin_is_missed_it_turns_elsewhere(tmp_path: Path) -> None:
    study = started(tmp_path, Guess(margin=lambda p: 0.15))

    def outcome(point: Point) -> Outcome:
        if point["tensor_parallel"] in (1, 2):
            return Outcome(-0.3, margin=-0.3)
        return good(point, margin=0.2)

    tried = [point["tensor_parallel"] for point in run(study, 8, outcome)]
    assert sum(tp in (1, 2) for tp in tried) <= 4


def test_an_equal_promise_goes_to_the_cheaper_trial(tmp_path: Path) -> None:
    prior = Guess(
        off=lambda p: 1 / truth(p),
        trial_s=lambda p: 3000.0 if int(p["max_num_seqs"]) > 64 else 300.0,
    )
    study = started(tmp_path, prior)
    study.tell(at(8, 16, 1024), good(at(), 1.0))
    tried = [int(point["max_num_seqs"]) for point in run(study, 5, lambda p: good(p, 1.0))]
    assert sum(seqs <= 64 for seqs in tried) >= 4


def test_it_never_teaches_the_prior(tmp_path: Path) -> None:
    prior = Guess()
    run(started(tmp_path, prior), 3)
    assert prior.learnt == 0


# ---- the model


def scores(
    facts: list[Fact], prior: Guess | None = None, running: tuple[Point, ...] = ()
) -> dict[PointKey, float]:
    points = SPACE.points()
    found = ResidualModel(SPACE, prior or Guess(off=lambda p: 1 / truth(p))).scores(
        points, facts, running
    )
    return dict(zip(map(key_of, points), found.tolist(), strict=True))


FLAT = [Fact(at(8, 16, 1024), Outcome(1.0, rate_per_device=1.0))]


def test_a_failed_start_speaks_against_its_neighbours() -> None:
    failed = Fact(at(1, 256, 8192), Outcome(None, "failed", cause="out of memory"))
    before, after = scores(FLAT), scores([*FLAT, failed])
    near, far = key_of(at(1, 256, 4096)), key_of(at(8, 16, 2048))
    assert after[near] < before[near] - 0.2
    assert after[far] > before[far] - 0.05


def test_what_was_only_avoided_speaks_against_nothing() -> None:
    avoided = Fact(at(1, 256, 8192), Outcome(None, "failed", cause="avoided"))
    assert scores([*FLAT, avoided]) == scores(FLAT)


def test_a_bound_below_what_is_expected_lowers_it_and_one_above_says_nothing() -> None:
    def pruned(rate: float) -> Fact:
        return Fact(at(2, 64, 4096), Outcome(rate, "pruned"))

    near = key_of(at(2, 64, 8192))
    before = scores(FLAT)[near]
    assert scores([*FLAT, pruned(0.6)])[near] < before - 0.1
    assert scores([*FLAT, pruned(1.5)])[near] == pytest.approx(before)


def test_what_runs_already_is_worth_less_near_by() -> None:
    before, after = scores(FLAT), scores(FLAT, running=(at(1, 256, 8192),))
    near = key_of(at(1, 256, 4096))
    assert after[near] < before[near]


def test_a_doubted_fact_moves_less() -> None:
    def told(doubt: float) -> float:
        facts = [*FLAT, Fact(at(2, 64, 4096), Outcome(1.5, rate_per_device=1.5), doubt)]
        found = scores(facts)
        return found[key_of(at(2, 64, 8192))] - found[key_of(at(8, 32, 1024))]

    assert told(0.4) < told(0.0)


def test_a_near_miss_is_better_than_a_wide_one() -> None:
    prior = Guess(margin=lambda p: -0.1 if p["tensor_parallel"] == 4 else -1.0)
    found = scores([], prior)
    assert max(found, key=lambda key: found[key]) in {
        key_of(point) for point in SPACE.points() if point["tensor_parallel"] == 4
    }


@pytest.mark.parametrize(
    "prior",
    [
        Guess(margin=lambda p: -math.inf),
        Guess(margin=lambda p: math.inf),
        Guess(off=lambda p: 1e-300),
        Guess(trial_s=lambda p: 0.0),
    ],
    ids=["nothing stands", "no limit", "next to no rate", "free"],
)
def test_every_score_is_a_number(prior: Guess) -> None:
    facts = [
        Fact(at(1), Outcome(-10.0, margin=-5.0)),
        Fact(at(2), Outcome(2.0, rate_per_device=2.0, margin=math.inf)),
        Fact(at(4), Outcome(None, "pruned")),
        Fact(at(8), Outcome(-0.5)),
        Fact(at(8, 16), Outcome(3.0)),
    ]
    assert all(math.isfinite(score) for score in scores(facts, prior).values())
    assert all(math.isfinite(score) for score in scores([], prior).values())


# ---- hints


def test_hints_of_another_job_count_but_less(tmp_path: Path) -> None:
    best = at(8, 256, 8192)
    known = [Seen(p, good(p, 1.0), weight=0.9) for p in (at(1), at(2, 16), at(4, 32))]
    known.append(Seen(best, good(best, 1.5), weight=0.9))
    flat = Guess(off=lambda p: 1 / truth(p))
    first = started(tmp_path, flat, known=known).ask()
    assert first is not None
    assert (first["tensor_parallel"], first["max_num_seqs"]) in {(8, 256), (8, 128), (4, 256)}


def test_a_hint_is_dropped_once_the_point_is_measured_here(tmp_path: Path) -> None:
    best = at(8, 256, 8192)
    known = [Seen(best, good(best, 40.0), weight=0.9)]
    told = started(tmp_path / "a", known=known)
    told.tell(best, good(best))
    plain = started(tmp_path / "b")
    plain.tell(best, good(best))
    assert told.ask() == plain.ask()


# ---- what it keeps


def test_what_was_asked_first_is_asked_first_after_a_crash(tmp_path: Path) -> None:
    study = started(tmp_path)
    asked = [study.ask() for _ in range(3)]
    assert asked[0] is not None
    study.tell(asked[0], good(asked[0]))
    again = started(tmp_path, seed=5)
    assert [again.ask(), again.ask()] == asked[1:]
    assert again.ask() not in asked


def test_a_line_torn_by_a_crash_is_left_out(tmp_path: Path) -> None:
    study = started(tmp_path)
    first, _ = study.ask(), study.ask()
    file = tmp_path / "asked.jsonl"
    file.write_text(file.read_text()[:-4])
    again = started(tmp_path)
    assert again.ask() == first
    again.ask()
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 2


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(ArchiveError, match=r"asked\.jsonl line 1"):
        started(tmp_path)


def test_the_seed_breaks_ties(tmp_path: Path) -> None:
    flat = Guess(off=lambda p: 1 / truth(p))
    first = {key_of(started(tmp_path / str(s), flat, s).ask() or {}) for s in range(6)}
    assert len(first) > 1


# ---- large spaces

LARGE = Space(
    tuple(Dimension(name=f"flag_{i}", values=tuple(range(6)), extra=True) for i in range(6)),
    lambda serving: None,
    DEFAULT,
)


def test_a_large_space_is_sampled_and_what_is_near_a_point_is_taken_in() -> None:
    found = Candidates(LARGE, 0)
    assert 0 < len(found.points) <= LOOKED_AT
    middle = {f"flag_{i}": 3 for i in range(6)}
    found.near(middle)
    assert key_of({**middle, "flag_2": 4}) in found.points
    assert key_of({**middle, "flag_2": 2}) in found.points
    assert all(LARGE.holds(point) for point in found.points.values())


def test_a_small_space_is_listed_whole() -> None:
    found = Candidates(SPACE, 3)
    assert set(found.points) == {key_of(point) for point in SPACE.points()}
    before = len(found.points)
    found.near(at())
    assert len(found.points) == before
    assert found.another() is None
