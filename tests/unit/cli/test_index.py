"""list with what is asked for, archive index and archive query, on a home with three jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optikit.cli import main
from tests.index_contract import ended


@pytest.fixture
def home(optikit_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPTIKIT_INDEX_URL", raising=False)
    ended(optikit_home, "a", "job-1", "failed")
    ended(optikit_home, "a", "job-2", team="red")
    ended(optikit_home, "b", "job-3")
    return optikit_home


def out(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.parametrize(
    ("argv", "ids"),
    [
        ((), ["job-1", "job-2", "job-3"]),
        (("--state", "done"), ["job-2", "job-3"]),
        (("--state", "done", "--state", "failed", "--model", "a"), ["job-1", "job-2"]),
        (("--model", "b:2"), ["job-3"]),
        (("--team", "red"), ["job-2"]),
        (("--since", "1h"), ["job-1", "job-2", "job-3"]),
        (("--since", "2999-01-01"), []),
        (("--limit", "2"), ["job-2", "job-3"]),
    ],
)
def test_a_list_shows_what_is_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], ids: list[str]
) -> None:
    out(capsys, "archive", "index")
    for where in ((), ("--index", "default")):
        found = json.loads(out(capsys, "list", *argv, *where, "--json"))
        assert [row["id"] for row in found] == ids


def test_an_index_is_made_and_asked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "archive index`" in out(capsys, "list", "--index", "default", code=2)
    told = json.loads(out(capsys, "archive", "index", "job-3", "--json"))
    assert told["index"] == str(home / "index.db")
    assert [one["read"] for one in told["homes"]] == [1]
    assert "index.db" in out(capsys, "archive", "index")
    told = json.loads(out(capsys, "archive", "index", "--rebuild", "--json"))
    assert [one["read"] for one in told["homes"]] == [3]
    query = "SELECT model_name, count(*) AS n FROM archive_jobs GROUP BY 1 ORDER BY 1"
    found = json.loads(out(capsys, "archive", "query", query, "--json"))
    assert found == [{"model_name": "a", "n": 2}, {"model_name": "b", "n": 1}]
    shown = out(capsys, "archive", "query", query, "--limit", "1")
    assert "1 rows" in shown
    assert "there are more" in shown
    assert "refuses the query" in out(capsys, "archive", "query", "DROP TABLE x", code=2)


def test_what_makes_no_sense_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "name no jobs" in out(capsys, "archive", "index", "job-1", "--rebuild", code=2)
    assert "one row or more" in out(capsys, "archive", "query", "SELECT 1", "--limit", "0", code=2)
    refused = out(capsys, "archive", "index", "--to", "postgresql://me:secret@db/x", code=2)
    assert "--to: the URL holds a password" in refused
    assert "secret" not in refused
    there = ("--address", "http://head:8265")
    assert "a cluster knows no teams" in out(capsys, "list", "--team", "red", *there, code=2)
