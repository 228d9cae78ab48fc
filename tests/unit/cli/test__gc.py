from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from optikit.archive import JobArchive, jobs
from optikit.cli import main
from tests.specs import small_plan


@pytest.fixture
def job(optikit_home: Path) -> JobArchive:
    archive = JobArchive.create(optikit_home, small_plan(), {})
    archive.event("state", state="done", exit_code=0, message="")
    return archive


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A person at a terminal who answers so."""

    def answers(word: str) -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda _: word)

    return answers


def run(*words: str) -> int:
    return main(["archive", "gc", *words])


def test_without_a_terminal_it_only_shows(
    job: JobArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--older-than", "0s") == 0
    said = capsys.readouterr().out
    assert job.job_id in said
    assert "--yes removes it" in said
    assert job.whole


def test_with_yes_it_removes_and_says_what_was_freed(
    job: JobArchive, optikit_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--older-than", "0s", "--yes") == 0
    assert "1 removed" in capsys.readouterr().out
    assert jobs(optikit_home) == []
    assert run("--older-than", "0s", "--yes") == 0
    assert "nothing would go" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "stays"), [("y", False), ("Yes", False), ("", True), ("n", True)])
def test_a_person_is_asked(
    job: JobArchive, terminal: Callable[[str], None], word: str, stays: bool
) -> None:
    terminal(word)
    assert run("--older-than", "0s") == 0
    assert job.whole is stays


def test_a_dry_run_asks_nobody(job: JobArchive, terminal: Callable[[str], None]) -> None:
    terminal("y")
    assert run("--older-than", "0s", "--dry-run") == 0
    assert job.whole
    assert run("--dry-run", "--yes") == 2


def test_no_rule_takes_no_job(job: JobArchive, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--yes") == 0
    assert "no age, size or state was given" in capsys.readouterr().out
    assert job.whole


def test_a_size_that_cannot_be_reached_is_exit_1(
    job: JobArchive, optikit_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (optikit_home / "models").mkdir()
    (optikit_home / "models" / "notes").write_bytes(b"x" * 100_000)
    assert run("--keep-under", "1KB", "--yes") == 1
    assert "more than 1KB" in capsys.readouterr().out
    assert not job.whole
    assert run("--keep-under", "1GB", "--yes") == 0


def test_json_says_what_would_go_and_what_went(
    job: JobArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--older-than", "0s", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in shown["would_remove"]] == [job.job_id]
    assert (shown["removed"], shown["freed_bytes"]) == ([], 0)
    assert run("--older-than", "0s", "--json", "--yes") == 0
    went = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in went["removed"]] == [job.job_id]
    assert went["freed_bytes"] == went["removed"][0]["bytes"] > 0


@pytest.mark.parametrize(
    "words", [("--older-than", "soon"), ("--keep-under", "5"), ("--state", "running")]
)
def test_bad_words_are_exit_2(job: JobArchive, words: tuple[str, str]) -> None:
    assert run(*words, "--yes") == 2
    assert job.whole
