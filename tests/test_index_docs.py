"""docs/reference/archive-index.md shows the tables as they are; the how-to is answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optikit.adapters.sql import sa
from optikit.index.store import Index
from optikit.index.tables import ALL, FACTS, SCHEMA
from tests.unit.reports.archive_case import driven

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference" / "archive-index.md"
HOW_TO = ROOT / "docs" / "howto" / "ask-across-jobs.md"
_TYPES = {
    *((sa.Text, "text"), (sa.Float, "float"), (sa.BigInteger, "integer")),
    *((sa.Boolean, "boolean"), (sa.DateTime, "time"), (sa.JSON, "JSON")),
}


def shown(table: sa.Table) -> str:
    """A table as the reference has it."""
    lines = [f"## {table.name}", "", f"{str(table.comment).capitalize()}.", ""]
    lines += ["| column | type | what it is |", "|---|---|---|"]
    for column in table.columns:
        (kind,) = (name for type_, name in _TYPES if isinstance(column.type, type_))
        key = ", key" if column.primary_key else ""
        lines.append(f"| `{column.name}` | {kind}{key} | {column.comment} |")
    return "\n".join(lines)


def questions() -> list[str]:
    return re.findall(r"^```sql\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)


def test_the_reference_shows_every_table_as_it_is() -> None:
    page = REFERENCE.read_text()
    tables = [table for table in ALL.sorted_tables if table is not FACTS]
    assert len(tables) == 7
    for table in tables:
        assert shown(table) in page, f"{table.name} should read:\n{shown(table)}"
    assert set(re.findall(r"^## (archive_\w+)$", page, re.MULTILINE)) == {t.name for t in tables}
    assert f"Version of the tables: {SCHEMA}." in page


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    archive = driven(tmp_path_factory.mktemp("asked") / "home")
    made = Index(None, archive.home)
    made.update(archive.home)
    return made


@pytest.mark.parametrize("query", questions())
def test_a_question_of_the_how_to_is_answered(index: Index, query: str) -> None:
    names, rows = index.ask(query, 100)
    assert len(names) >= 3
    simulated_or_none = ("NOT simulated", "'failed'\nGROUP", "'certified'")
    if not any(word in query for word in simulated_or_none):
        assert rows, "the job on paper has some"


def test_there_are_questions() -> None:
    assert len(questions()) >= 5
