import json
from collections import Counter
from pathlib import Path

import pytest

from optikit.core.space import Point, Space, key_of
from optikit.errors import ArchiveError
from optikit.spec.serving import ServingConfig
from optikit.spec.space import Dimension
from optikit.tuners import grid, random
from optikit.tuners._grid import Told, shuffled, walk
from optikit.tuners.base import Outcome

DEFAULT = ServingConfig(max_model_len=1024)
SPACE = Space(
    (
        Dimension(name="tensor_parallel", values=(1, 2), log=True),
        Dimension(name="max_num_seqs", values=(8, 16), log=True),
        Dimension(name="max_num_batched_tokens", values=(64, 128), log=True),
    ),
    lambda serving: None,
    DEFAULT,
)
CHAINED = Space(
    (
        Dimension(name="third", values=(5, 6), extra=True, when=(("second", "b"),)),
        Dimension(name="first", values=(False, True), extra=True),
        Dimension(name="second", values=("a", "b"), extra=True, when=(("first", True),)),
    ),
    lambda serving: None,
    DEFAULT,
)


def test_the_grid_is_walked_in_order(tmp_path: Path) -> None:
    study = grid.TUNER.start(SPACE, 3, tmp_path)
    asked = [study.ask() for _ in range(3)]
    assert asked == [
        {"tensor_parallel": 1, "max_num_seqs": 8, "max_num_batched_tokens": 64},
        {"tensor_parallel": 1, "max_num_seqs": 8, "max_num_batched_tokens": 128},
        {"tensor_parallel": 1, "max_num_seqs": 16, "max_num_batched_tokens": 64},
    ]


def test_the_grid_is_the_spaces_own_list_of_points() -> None:
    assert list(walk(SPACE, range(SPACE.combinations))) == SPACE.points()


def test_a_condition_on_a_dimension_that_is_left_out_is_not_met() -> None:
    points = list(walk(CHAINED, range(CHAINED.combinations)))
    wanted: list[Point] = [
        {"first": False},
        {"first": True, "second": "a"},
        {"first": True, "second": "b", "third": 5},
        {"first": True, "second": "b", "third": 6},
    ]
    assert {key_of(point) for point in points} == {key_of(point) for point in wanted}
    assert len(points) == 4
    assert all(CHAINED.holds(point) for point in points)
    assert {key_of(point) for point in CHAINED.points()} == {key_of(point) for point in points}


def test_the_seed_decides_the_random_order(tmp_path: Path) -> None:
    def order(seed: int) -> list[object]:
        study = random.TUNER.start(SPACE, seed, tmp_path / str(seed))
        return [study.ask() for _ in range(8)]

    assert order(1) != order(2)
    assert order(1) == order(1)


def test_a_shuffle_is_a_permutation_and_each_is_as_likely() -> None:
    seen = Counter(tuple(shuffled(3, seed)) for seed in range(3000))
    assert all(sorted(order) == [0, 1, 2] for order in seen)
    assert len(seen) == 6
    assert all(abs(count - 500) < 100 for count in seen.values())  # 5 standard deviations


def test_a_shuffle_of_more_rows_than_memory_begins_at_once() -> None:
    rows = shuffled(10**30, 0)
    assert len({next(rows) for _ in range(100)}) == 100


def test_what_matters_of_a_result_is_kept(tmp_path: Path) -> None:
    study = grid.TUNER.start(SPACE, 0, tmp_path)
    point = study.ask()
    assert point is not None
    outcome = Outcome(0.5, "pruned", rate_per_device=0.5, margin=0.25, cost_s=60.0, cause=None)
    study.tell(point, outcome)
    row = json.loads((tmp_path / "told.jsonl").read_text())
    assert row["point"] == dict(point)
    assert row["state"] == "pruned"
    assert row["cost_s"] == 60.0
    assert Told(tmp_path).outcomes == {key_of(point): outcome}


def test_a_line_torn_by_a_crash_is_left_out(tmp_path: Path) -> None:
    study = grid.TUNER.start(SPACE, 0, tmp_path)
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    study.tell(first, Outcome(1.0))
    study.tell(second, Outcome(2.0))
    file = tmp_path / "told.jsonl"
    file.write_text(file.read_text()[:-9])
    again = grid.TUNER.start(SPACE, 0, tmp_path)
    assert again.ask() == second
    again.tell(second, Outcome(2.0))
    assert grid.TUNER.start(SPACE, 0, tmp_path).ask() not in (first, second)


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "told.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(ArchiveError, match=r"told\.jsonl line 1"):
        grid.TUNER.start(SPACE, 0, tmp_path)
