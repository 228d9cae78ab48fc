"""What a job's end does with the index, and what becomes of one that cannot be told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from optikit import runner
from optikit.archive import JobArchive
from optikit.index import store
from optikit.index.asking import list_indexed
from optikit.index.telling import VARIABLE, tell_index
from tests.index_contract import ended


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobArchive:
    monkeypatch.delenv(VARIABLE, raising=False)
    ended(tmp_path, "a", "job-1")
    ended(tmp_path, "a", "job-2")
    return JobArchive(tmp_path, "job-1")


def test_where_nobody_named_an_index_none_is_made(archive: JobArchive) -> None:
    tell_index(archive)
    assert not (archive.home / "index.db").exists()
    assert not archive.of_kind("index_failed")


def test_a_job_that_ended_is_in_the_index_named(
    archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("default", f"sqlite:///{archive.home}/other.db"):
        monkeypatch.setenv(VARIABLE, url)
        runner._tell(archive)
        assert [row["id"] for row in list_indexed(home=archive.home)] == ["job-1"]
    assert not archive.of_kind("index_failed")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:very-secret@db/x", "holds a password"),
        ("sqlite:////nowhere/at/all.db", "does not do what was asked"),
        ("db.example.org", "no database URL"),
    ],
)
def test_an_index_that_cannot_be_told_is_an_event(
    archive: JobArchive, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    tell_index(archive)
    (event,) = archive.of_kind("index_failed")
    assert said in event["error"]
    assert "optikit archive index" in event["error"]
    assert "very-secret" not in archive.journal.read_text()


def test_an_index_that_does_not_answer_is_left_behind(
    archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def hang(*_: object) -> None:
        answer.wait(30)

    monkeypatch.setattr(store.Index, "update_job", hang)
    monkeypatch.setenv(VARIABLE, "default")
    tell_index(archive, patience_s=0.01)
    answer.set()
    (event,) = archive.of_kind("index_failed")
    assert "did not answer for 0.01 s" in event["error"]
