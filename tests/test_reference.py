"""The pages of the reference that are made from the code are as the code is."""

from __future__ import annotations

from pathlib import Path

import pytest

from optikit.cli import VERBS
from scripts import reference

ROOT = Path(__file__).parent.parent
PAGES = reference.pages()


@pytest.mark.parametrize("page", [pytest.param(path, id=path.name) for path in PAGES])
def test_a_generated_page_is_up_to_date(page: Path) -> None:
    where = page.relative_to(ROOT)
    assert page.exists(), f"{where} is not there; run: {reference.COMMAND}"
    current = page.read_text(encoding="utf-8") == PAGES[page]
    assert current, f"{where} is older than the code; run: {reference.COMMAND}"


def test_every_variable_that_the_sources_name_is_described() -> None:
    described = {*reference.VARIABLES, *reference.EXPORTED}
    odd = sorted(reference.variables_in_source() ^ described)
    assert odd == [], "describe it in VARIABLES or EXPORTED of scripts/reference.py, or take it out"


def test_every_verb_and_every_room_has_its_section() -> None:
    cli = PAGES[reference.REFERENCE / "cli.md"]
    assert [verb for verb in VERBS if f"\n## optikit {verb}\n" not in cli] == []
    assert "| `--allow-uncertified` |" in cli
    assert "\n### optikit archive check\n" in cli
    plug_ins = PAGES[reference.REFERENCE / "plug-ins.md"]
    for room in ("engines", "recipes", "tuners", "sources", "evaluators", "stages", "exports"):
        assert f"\n## {room}\n" in plug_ins
    assert "| `simulated` |" in plug_ins


def test_the_errors_have_their_exit_codes() -> None:
    page = PAGES[reference.REFERENCE / "errors.md"]
    for name, code in (("OptikitError", 1), ("SpecError", 2), ("PortInUse", 2), ("Cancelled", 130)):
        assert f"\n| `{name}` | {code} | " in page
