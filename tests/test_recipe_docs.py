"""docs/reference/recipes.md says what the recipes declare, and each has an example."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from optikit.engines.vllm import ENGINE
from optikit.recipes import RECIPES
from optikit.spec.recipe import RecipeFacts

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "recipes.md"


def row(facts: RecipeFacts) -> list[str]:
    """The table's row of one recipe."""
    texts = str(facts.default_samples) if facts.needs_calibration else "none"
    products = "the model's own" if facts.compute_dtype == "own" else facts.compute_dtype
    newer = {on(facts, name) for name in ("L40S", "H100", "H200")}
    assert len(newer) == 1, f"{facts.name}: the page has one column for {newer}"
    cpu = "no"
    if facts.scheme in ENGINE.facts.serves["cpu"]:
        cpu = "yes"
    elif facts.scheme in ENGINE.facts.doubtful["cpu"]:
        cpu = "some"
    return [
        *(f"`{facts.name}`", facts.scheme, texts, f"{facts.block_bytes_per_parameter:.3f}"),
        *(products, on(facts, "A100"), newer.pop(), cpu),
    ]


def on(facts: RecipeFacts, accelerator: str) -> str:
    assert facts.scheme in ENGINE.facts.serves["gpu"]
    return {None: "no", facts.compute_dtype: "yes"}.get(facts.computes_in(accelerator), "unpacked")


def test_the_table_says_what_the_recipes_declare() -> None:
    lines = PAGE.read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    shown = {cells[0]: cells for cells in rows if cells[0].startswith("`")}
    declared = [row(RECIPES.load(name).facts) for name in RECIPES.names()]
    assert shown == {cells[0]: cells for cells in declared}


@pytest.mark.parametrize("name", RECIPES.names())
def test_every_recipe_has_an_example(name: str) -> None:
    spec = yaml.safe_load((ROOT / "examples" / "recipes" / f"{name}.yaml").read_text())
    assert spec["flow_params"].get("recipe") == (None if name == "none" else name)


@pytest.mark.parametrize("name", RECIPES.names())
def test_a_recipe_is_named_as_its_file_and_says_what_it_is(name: str) -> None:
    facts = RECIPES.load(name).facts
    assert facts.name == name
    assert facts.summary
    assert (facts.default_samples > 0) == facts.needs_calibration
