from __future__ import annotations

from pathlib import Path

import pytest

from optikit.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES.names())
def test_a_recipe_declares_itself(name: str) -> None:
    facts = RECIPES.load(name).facts
    assert facts.name == name
    assert facts.summary
    assert facts.needs_calibration == (facts.default_samples > 0)
    assert 0.4 < facts.block_bytes_per_parameter <= 2.0


def test_the_talks_recipe_takes_256_samples() -> None:
    assert RECIPES.load("int_w8a8").facts.default_samples == 256


def test_none_copies_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text("{}")
    RECIPES.load("none").compress(tmp_path / "m", tmp_path / "out", [], max_tokens=8, seed=0)
    assert (tmp_path / "out/config.json").read_text() == "{}"
