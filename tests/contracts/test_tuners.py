"""What every tuner promises; inherit TunerContract and give ``tuner``."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from optikit.spec.plan import ResolvedSpace
from optikit.tuners import TUNERS
from optikit.tuners.base import Point, Tuner

SPACE = ResolvedSpace(
    tensor_parallel=(1, 2, 4), max_num_seqs=(16, 64), max_num_batched_tokens=(256, 1024)
)
ALL = set(
    itertools.product(SPACE.tensor_parallel, SPACE.max_num_seqs, SPACE.max_num_batched_tokens)
)


def values(point: Point | None) -> tuple[int, ...]:
    assert point is not None
    return tuple(point[name] for name in ResolvedSpace.model_fields)


class TunerContract:
    """Inherit as ``class TestMine(TunerContract): tuner = TUNER``."""

    tuner: Tuner

    def test_its_name_is_its_files_name(self) -> None:
        assert TUNERS.load(self.tuner.name) is self.tuner

    def test_it_asks_for_every_point_once_then_says_none(self, tmp_path: Path) -> None:
        study = self.tuner.start(SPACE, 0, tmp_path)
        asked = []
        while (point := study.ask()) is not None:
            asked.append(values(point))
            study.tell(point, float(sum(asked[-1])))
        assert len(asked) == len(ALL)
        assert set(asked) == ALL
        assert study.ask() is None

    def test_points_asked_at_the_same_time_differ(self, tmp_path: Path) -> None:
        study = self.tuner.start(SPACE, 0, tmp_path)
        points = [study.ask() for _ in range(4)]
        assert len({values(point) for point in points}) == 4
        for point in points:
            assert point is not None
            study.tell(point, 1.0)

    def test_a_failed_point_is_not_asked_again(self, tmp_path: Path) -> None:
        study = self.tuner.start(SPACE, 0, tmp_path)
        asked = []
        while (point := study.ask()) is not None:
            asked.append(values(point))
            study.tell(point, None)
        assert sorted(asked) == sorted(ALL)

    def test_a_point_told_unasked_is_never_asked(self, tmp_path: Path) -> None:
        study = self.tuner.start(SPACE, 0, tmp_path)
        known = {"tensor_parallel": 2, "max_num_seqs": 64, "max_num_batched_tokens": 256}
        study.tell(known, 3.0)
        asked = []
        while (point := study.ask()) is not None:
            asked.append(values(point))
            study.tell(point, 1.0)
        assert set(asked) == ALL - {(2, 64, 256)}

    def test_a_point_outside_the_space_may_be_told(self, tmp_path: Path) -> None:
        outside = {"tensor_parallel": 1, "max_num_seqs": 999, "max_num_batched_tokens": 7}
        study = self.tuner.start(SPACE, 0, tmp_path)
        study.tell(outside, 3.0)
        study.tell(outside, None)
        assert values(study.ask()) in ALL

    def test_a_point_without_a_dimension_is_a_bug(self, tmp_path: Path) -> None:
        study = self.tuner.start(SPACE, 0, tmp_path)
        with pytest.raises(KeyError):
            study.tell({"tensor_parallel": 1}, 1.0)

    def test_the_same_seed_gives_the_same_first_points(self, tmp_path: Path) -> None:
        def first(folder: str, seed: int) -> list[tuple[int, ...]]:
            study = self.tuner.start(SPACE, seed, tmp_path / folder)
            points = []
            for _ in range(4):
                point = study.ask()
                assert point is not None
                points.append(values(point))
                study.tell(point, 1.0)
            return points

        assert first("a", 5) == first("b", 5)

    def test_a_search_is_resumed_without_repeating_a_told_point(self, tmp_path: Path) -> None:
        folder = tmp_path / "a folder?#%"
        study = self.tuner.start(SPACE, 0, folder)
        told = []
        for fitness in (1.0, None, 2.0):
            point = study.ask()
            assert point is not None
            told.append(values(point))
            study.tell(point, fitness)
        interrupted = values(study.ask())
        del study
        again = self.tuner.start(SPACE, 0, folder)
        asked = []
        while (point := again.ask()) is not None:
            asked.append(values(point))
            again.tell(point, 1.0)
        assert asked[0] == interrupted
        assert sorted(told + asked) == sorted(ALL)

    def test_telling_twice_what_is_known_changes_nothing(self, tmp_path: Path) -> None:
        study = self.tuner.start(SPACE, 0, tmp_path)
        point = study.ask()
        assert point is not None
        for fitness in (None, None, 1.0, 1.0):
            study.tell(point, fitness)
        again = self.tuner.start(SPACE, 0, tmp_path)
        again.tell(point, 1.0)
        left = []
        while (other := again.ask()) is not None:
            left.append(values(other))
            again.tell(other, 0.0)
        assert set(left) == ALL - {values(point)}

    def test_an_interrupted_point_that_is_told_after_all_is_not_asked(self, tmp_path: Path) -> None:
        study = self.tuner.start(SPACE, 0, tmp_path)
        point = study.ask()
        assert point is not None
        again = self.tuner.start(SPACE, 0, tmp_path)
        again.tell(point, 1.0)
        assert values(again.ask()) != values(point)

    def test_a_space_of_one_point(self, tmp_path: Path) -> None:
        space = ResolvedSpace(
            tensor_parallel=(1,), max_num_seqs=(4,), max_num_batched_tokens=(256,)
        )
        study = self.tuner.start(space, 0, tmp_path)
        assert values(study.ask()) == (1, 4, 256)
        assert study.ask() is None


class TestTpe(TunerContract):
    tuner = TUNERS.load("tpe")


class TestRandom(TunerContract):
    tuner = TUNERS.load("random")


class TestGrid(TunerContract):
    tuner = TUNERS.load("grid")
