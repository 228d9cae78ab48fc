from pathlib import Path

import pytest

from optikit.errors import ArchiveError
from optikit.spec.plan import ResolvedSpace
from optikit.tuners import grid, random

SPACE = ResolvedSpace(
    tensor_parallel=(1, 2), max_num_seqs=(8, 16), max_num_batched_tokens=(64, 128)
)


def test_the_grid_is_walked_in_order(tmp_path: Path) -> None:
    study = grid.TUNER.start(SPACE, 3, tmp_path)
    asked = [study.ask() for _ in range(3)]
    assert asked == [
        {"tensor_parallel": 1, "max_num_seqs": 8, "max_num_batched_tokens": 64},
        {"tensor_parallel": 1, "max_num_seqs": 8, "max_num_batched_tokens": 128},
        {"tensor_parallel": 1, "max_num_seqs": 16, "max_num_batched_tokens": 64},
    ]


def test_the_seed_decides_the_random_order(tmp_path: Path) -> None:
    def order(seed: int) -> list[object]:
        study = random.TUNER.start(SPACE, seed, tmp_path / str(seed))
        return [study.ask() for _ in range(8)]

    assert order(1) != order(2)
    assert order(1) == order(1)


def test_a_line_torn_by_a_crash_is_left_out(tmp_path: Path) -> None:
    study = grid.TUNER.start(SPACE, 0, tmp_path)
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    study.tell(first, 1.0)
    study.tell(second, 2.0)
    file = tmp_path / "told.jsonl"
    file.write_text(file.read_text()[:-9])
    again = grid.TUNER.start(SPACE, 0, tmp_path)
    assert again.ask() == second
    again.tell(second, 2.0)
    assert grid.TUNER.start(SPACE, 0, tmp_path).ask() not in (first, second)


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "told.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(ArchiveError, match=r"told\.jsonl line 1"):
        grid.TUNER.start(SPACE, 0, tmp_path)
