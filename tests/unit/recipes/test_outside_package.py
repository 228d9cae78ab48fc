"""A recipe that another package brings, as docs/howto/add-a-recipe.md says."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from optikit.api import Submitter
from optikit.recipes import RECIPES
from optikit.spec.job import OptimizationJob

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "examples" / "plugin_recipe"
MODULE = "optikit_int_w8a8_gptq"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installer leaves of the package: its module, and its entry points as metadata."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copy(PACKAGE / f"{MODULE}.py", tmp_path)
    facts = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (facts / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_it_is_a_recipe_like_any_other(installed: None, tmp_path: Path) -> None:
    assert "int_w8a8_gptq" in RECIPES.names()
    assert RECIPES.load("int_w8a8_gptq").facts.scheme == "W8A8"
    job = OptimizationJob.parse(
        {
            "model": {"name": "qwen-2.5-7b"},
            "engine": "simulated",
            "compute": {"sku": "H100_1"},
            "flow_params": {"recipe": ["int_w8a8", "int_w8a8_gptq"]},
        }
    )
    plan = Submitter(tmp_path / "home").plan(job)
    assert [o.recipe.name for o in plan.options if o.recipe] == ["int_w8a8", "int_w8a8_gptq"]


def test_without_the_package_the_name_is_unknown() -> None:
    assert "int_w8a8_gptq" not in RECIPES.names()


def test_the_document_shows_the_package_as_it_is() -> None:
    document = (ROOT / "docs" / "howto" / "add-a-recipe.md").read_text()
    for file in (PACKAGE / f"{MODULE}.py", PACKAGE / "pyproject.toml"):
        assert file.read_text() in document
