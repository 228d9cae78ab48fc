"""What every tuner promises; a new one is taken in by its name."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from optikit.core.predict import Prediction
from optikit.core.space import Point, PointKey, Space, key_of
from optikit.spec.serving import ServingConfig
from optikit.spec.space import Dimension
from optikit.tuners import TUNERS
from optikit.tuners.base import Outcome, Seen, Study, Tuner

DEFAULT = ServingConfig(max_model_len=1024)
TP = Dimension(name="tensor_parallel", values=(1, 2, 4), log=True)
SEQS = Dimension(name="max_num_seqs", values=(16, 64), log=True)
TOKENS = Dimension(name="max_num_batched_tokens", values=(256, 1024), log=True)


def anything(serving: ServingConfig) -> str | None:
    return None


def not_two_by_two(serving: ServingConfig) -> str | None:
    small = serving.max_num_batched_tokens < 4 * serving.max_num_seqs * serving.tensor_parallel
    return "too few tokens a step" if small else None


PLAIN = Space((TP, SEQS, TOKENS), anything, DEFAULT)
NARROW = Space((TP, SEQS, TOKENS), not_two_by_two, DEFAULT)
MIXED = Space(
    (
        Dimension(name="gpu_memory_utilization", values=(0.8, 0.9)),
        Dimension(name="kv_cache_dtype", values=("auto", "fp8")),
        Dimension(name="window", values=(8, 32), extra=True, when=(("method", "far"),)),
        Dimension(name="method", values=("near", "far"), extra=True),
    ),
    anything,
    DEFAULT,
)
HUGE = Space(
    (TP, *(Dimension(name=f"flag_{i}", values=tuple(range(10)), extra=True) for i in range(7))),
    lambda serving: "odd" if sum(int(v) for _, v in serving.extra_flags) % 2 else None,
    DEFAULT,
)


class Guess:
    """A prior that costs nothing: more sequences are better, two devices are best."""

    def predict(self, point: Point) -> Prediction:
        degree, seqs = float(point.get("tensor_parallel", 1)), float(point.get("max_num_seqs", 16))
        rate = math.log2(seqs) / (1 + abs(degree - 2))
        return Prediction(
            rate_rps=rate * degree,
            rate_per_device=rate,
            margin=0.5,
            e2e_ms=100.0,
            ttft_ms=10.0,
            tpot_ms=1.0,
            trial_s=60.0,
        )

    def learn(self, point: Point, outcome: Outcome) -> None:
        pass


@pytest.fixture(params=TUNERS.names())
def tuner(request: pytest.FixtureRequest) -> Tuner:
    return TUNERS.load(request.param)


def started(
    tuner: Tuner,
    space: Space,
    folder: Path,
    seed: int = 0,
    known: tuple[Seen, ...] = (),
    kept: bool = False,
) -> Study:
    """A search. Only a ``kept`` one is found again by the next start: a database in memory is as
    good for the others, and several times as fast."""
    prior = Guess() if tuner.needs_prior else None
    url = None if kept else "sqlite:///:memory:"
    return tuner.start(space, seed, folder, url=url, prior=prior, known=known)


def all_of(space: Space) -> set[PointKey]:
    return {key_of(point) for point in space.points()}


def key(point: Point | None) -> PointKey:
    assert point is not None
    return key_of(point)


def good(rate: float) -> Outcome:
    return Outcome(rate, rate_per_device=rate, margin=0.5, cost_s=60.0)


FAILED = Outcome(None, "failed", cause="out of memory", cost_s=20.0)


def emptied(study: Study, outcome: Outcome | None = None) -> list[PointKey]:
    """Every point the study still asks for, each told before the next."""
    asked = []
    while (point := study.ask()) is not None:
        asked.append(key_of(point))
        study.tell(point, outcome or good(float(len(asked))))
    return asked


def test_its_name_is_its_files_name(tuner: Tuner) -> None:
    assert TUNERS.load(tuner.name) is tuner


@pytest.mark.parametrize("space", [PLAIN, NARROW, MIXED], ids=["plain", "narrow", "mixed"])
def test_it_asks_for_every_legal_point_once_then_says_none(
    tuner: Tuner, space: Space, tmp_path: Path
) -> None:
    study = started(tuner, space, tmp_path)
    asked = emptied(study)
    assert len(asked) == len(set(asked))
    assert set(asked) == all_of(space)
    assert study.ask() is None


def test_points_asked_at_the_same_time_differ(tuner: Tuner, tmp_path: Path) -> None:
    study = started(tuner, PLAIN, tmp_path)
    points = [study.ask() for _ in range(4)]
    assert len({key(point) for point in points}) == 4
    for point in reversed(points):
        assert point is not None
        study.tell(point, good(1.0))
    assert set(emptied(study)) == all_of(PLAIN) - {key(point) for point in points}


def test_all_points_may_be_asked_before_the_first_is_told(tuner: Tuner, tmp_path: Path) -> None:
    study = started(tuner, NARROW, tmp_path)
    asked = [key(study.ask()) for _ in all_of(NARROW)]
    assert set(asked) == all_of(NARROW)
    assert study.ask() is None


@pytest.mark.parametrize(
    "outcome",
    [
        FAILED,
        Outcome(-0.5, margin=-0.5, cost_s=90.0),
        Outcome(0.5, "pruned", cost_s=30.0),
        Outcome(None, "pruned", cost_s=30.0),
        Outcome(2.0),
    ],
    ids=["failed", "infeasible", "pruned", "pruned without a bound", "fitness alone"],
)
def test_no_result_makes_a_point_be_asked_again(
    tuner: Tuner, outcome: Outcome, tmp_path: Path
) -> None:
    assert sorted(emptied(started(tuner, PLAIN, tmp_path, kept=True), outcome)) == sorted(
        all_of(PLAIN)
    )
    assert started(tuner, PLAIN, tmp_path, kept=True).ask() is None


def test_a_point_told_unasked_is_never_asked(tuner: Tuner, tmp_path: Path) -> None:
    study = started(tuner, PLAIN, tmp_path)
    told = {"tensor_parallel": 2, "max_num_seqs": 64, "max_num_batched_tokens": 256}
    study.tell(told, good(3.0))
    assert set(emptied(study)) == all_of(PLAIN) - {key_of(told)}


def test_a_point_outside_the_space_may_be_told(tuner: Tuner, tmp_path: Path) -> None:
    outside = {"tensor_parallel": 1, "max_num_seqs": 999, "max_num_batched_tokens": 7}
    for told in (outside, {"tensor_parallel": 1}, {**outside, "block_size": 16}):
        study = started(tuner, PLAIN, tmp_path, kept=True)
        study.tell(told, good(3.0))
        study.tell(told, FAILED)
    assert key(started(tuner, PLAIN, tmp_path, kept=True).ask()) in all_of(PLAIN)


@pytest.mark.parametrize("space", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_the_same_seed_gives_the_same_points(tuner: Tuner, space: Space, tmp_path: Path) -> None:
    def first(folder: str, seed: int) -> list[PointKey]:
        study = started(tuner, space, tmp_path / folder, seed)
        points = []
        for rate in range(9):
            point = study.ask()
            points.append(key(point))
            assert point is not None
            study.tell(point, good(1.0 + rate % 3))
        return points

    assert first("a", 5) == first("b", 5)


@pytest.mark.parametrize("space", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_a_search_is_resumed_without_repeating_a_told_point(
    tuner: Tuner, space: Space, tmp_path: Path
) -> None:
    folder = tmp_path / "a {folder}?#%"
    study = started(tuner, space, folder, kept=True)
    told = []
    for outcome in (good(1.0), FAILED, Outcome(0.5, "pruned"), good(2.0)):
        point = study.ask()
        told.append(key(point))
        assert point is not None
        study.tell(point, outcome)
    interrupted = {key(study.ask()), key(study.ask())}
    del study
    again = started(tuner, space, folder, kept=True)
    asked = emptied(again)
    assert set(asked[:2]) == interrupted
    assert sorted(told + asked, key=repr) == sorted(all_of(space), key=repr)


def test_telling_twice_what_is_known_changes_nothing(tuner: Tuner, tmp_path: Path) -> None:
    study = started(tuner, PLAIN, tmp_path, kept=True)
    point = study.ask()
    assert point is not None
    for outcome in (FAILED, FAILED, good(1.0), good(1.0)):
        study.tell(point, outcome)
    again = started(tuner, PLAIN, tmp_path, kept=True)
    again.tell(point, good(1.0))
    assert set(emptied(again)) == all_of(PLAIN) - {key_of(point)}


def test_an_interrupted_point_that_is_told_after_all_is_not_asked(
    tuner: Tuner, tmp_path: Path
) -> None:
    point = started(tuner, PLAIN, tmp_path, kept=True).ask()
    assert point is not None
    again = started(tuner, PLAIN, tmp_path, kept=True)
    again.tell(point, good(1.0))
    assert key_of(point) not in emptied(again)


def test_what_other_jobs_saw_is_a_hint_and_what_this_one_saw_is_not_asked(
    tuner: Tuner, tmp_path: Path
) -> None:
    points = PLAIN.points()
    outside = {"tensor_parallel": 16, "max_num_seqs": 64, "max_num_batched_tokens": 256}
    known = (
        Seen(points[0], good(0.4)),
        Seen(points[3], good(0.9), weight=0.6),
        Seen(points[4], FAILED, weight=0.6),
        Seen(points[5], Outcome(0.3, "pruned"), weight=0.6),
        Seen(outside, good(0.7), weight=0.6),
    )
    study = started(tuner, PLAIN, tmp_path, known=known, kept=True)
    first = study.ask()
    assert first is not None
    study.tell(first, good(1.0))
    study.tell(points[0], good(0.4))
    again = started(tuner, PLAIN, tmp_path, known=known, kept=True)
    assert set(emptied(again)) == all_of(PLAIN) - {key_of(points[0]), key_of(first)}


def test_a_huge_space_answers_quickly(tuner: Tuner, tmp_path: Path) -> None:
    assert HUGE.combinations == 3 * 10**7
    begun = time.perf_counter()
    study = started(tuner, HUGE, tmp_path)
    asked = set()
    for _ in range(10):
        point = study.ask()
        asked.add(key(point))
        assert point is not None
        assert HUGE.holds(point)
        assert HUGE.why_not(point) is None
        study.tell(point, good(1.0))
    assert len(asked) == 10
    assert time.perf_counter() - begun < 60  # listing it would take minutes


def test_a_space_of_one_point(tuner: Tuner, tmp_path: Path) -> None:
    one = {"tensor_parallel": 1, "max_num_seqs": 4, "max_num_batched_tokens": 256}
    dimensions = tuple(Dimension(name=name, values=(value,)) for name, value in one.items())
    study = started(tuner, Space(dimensions, anything, DEFAULT), tmp_path)
    assert study.ask() == one
    assert study.ask() is None


def test_a_space_in_which_nothing_stands(tuner: Tuner, tmp_path: Path) -> None:
    nothing = Space((TP, SEQS), lambda serving: "no memory", DEFAULT)
    assert started(tuner, nothing, tmp_path).ask() is None
