from pathlib import Path

import pytest

from optikit.errors import ArchiveError, BadInput
from optikit.spec.plan import ResolvedSpace
from optikit.tuners.tpe import TUNER

SPACE = ResolvedSpace(
    tensor_parallel=(1, 2, 4, 8),
    max_num_seqs=(16, 32, 64, 128, 256, 512),
    max_num_batched_tokens=(1024, 2048, 4096, 8192, 16384),
)


def distance(point: dict[str, int]) -> int:
    """Steps in the grid from (2, 128, 4096)."""
    best = {"tensor_parallel": 2, "max_num_seqs": 128, "max_num_batched_tokens": 4096}
    return sum(abs(point[name].bit_length() - value.bit_length()) for name, value in best.items())


def test_it_learns_where_the_good_points_are(tmp_path: Path) -> None:
    study = TUNER.start(SPACE, 0, tmp_path)
    steps = []
    for _ in range(24):
        point = study.ask()
        assert point is not None
        steps.append(distance(dict(point)))
        study.tell(point, -float(steps[-1]))
    # the 120 points are 1 + 1.5 + 1.2 = 3.7 steps away on average
    assert sum(steps[12:]) / 12 < 3.2
    assert min(steps) <= 1


def test_another_space_in_the_same_storage_is_refused(tmp_path: Path) -> None:
    TUNER.start(SPACE, 0, tmp_path)
    other = SPACE.model_copy(update={"tensor_parallel": (1,)})
    with pytest.raises(ArchiveError, match="holds a search over"):
        TUNER.start(other, 0, tmp_path)


def test_a_resumed_search_does_not_draw_the_first_points_again(tmp_path: Path) -> None:
    first = TUNER.start(SPACE, 0, tmp_path).ask()
    again = TUNER.start(SPACE, 0, tmp_path)
    assert again.ask() == first  # interrupted, so asked again
    assert again.ask() != first


def test_without_optuna_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'optikit\[tune\]'"):
        TUNER.start(SPACE, 0, tmp_path)
