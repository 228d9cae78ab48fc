"""SQLite: the contract of the index, and what a file of its own needs."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.errors import ArchiveError, BadInput
from optikit.index import store
from optikit.index.rows import rows_of
from optikit.index.store import Index, homes_below, index_file
from optikit.spec.listing import Wanted
from tests.index_contract import IndexContract, ended


class TestSqlite(IndexContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/an index.db"


def test_without_a_url_it_is_a_file_of_the_home_for_its_owner_alone(tmp_path: Path) -> None:
    ended(tmp_path, "a", "job-1")
    with pytest.raises(BadInput, match="optikit archive index"):
        Index(None, tmp_path, read_only=True)
    index = Index(None, tmp_path)
    index.update(tmp_path)
    assert stat.S_IMODE(index_file(tmp_path).stat().st_mode) == 0o600
    index.close()
    reading = Index("default", tmp_path, read_only=True)
    assert [row["id"] for row in reading.jobs(Wanted())] == ["job-1"]
    reading.close()


def test_what_is_no_index_is_said_to_be_so(tmp_path: Path) -> None:
    for text, said in (("", "nothing was written to it yet"), ("no database" * 99, "does not do")):
        index_file(tmp_path).write_text(text)
        index = Index(None, tmp_path, read_only=True)
        with pytest.raises((ArchiveError, BadInput), match=said):
            index.jobs(Wanted())
        index.close()


def test_a_query_does_not_leave_the_database(tmp_path: Path) -> None:
    index = Index(None, tmp_path)
    index.update(tmp_path)
    for query in (f"ATTACH '{tmp_path}/new.db' AS n", "PRAGMA query_only", "VACUUM INTO 'x.db'"):
        with pytest.raises(BadInput, match="refuses the query"):
            index.ask(query, 1)
    assert not (tmp_path / "new.db").exists()
    index.close()


def test_a_journal_that_went_on_while_it_was_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what somebody else wrote meanwhile would be overwritten by what was before."""
    ended(tmp_path, "a", "job-1", "running")
    archive, read = JobArchive(tmp_path, "job-1"), []
    real = rows_of

    def slow(of: JobArchive) -> object:
        rows = real(of)
        read.append(rows["archive_jobs"][0]["state"])
        if len(read) == 1:
            archive.event("state", state="done", exit_code=0, verdict="pass", message="")
        return rows

    monkeypatch.setattr(store, "rows_of", slow)
    index = Index(None, tmp_path)
    index.update(tmp_path)
    assert read == ["interrupted", "done"]
    assert [row["state"] for row in index.jobs(Wanted())] == ["done"]
    assert index.update(tmp_path).unchanged == 1
    index.close()


def test_a_driver_that_died_in_silence_is_found(tmp_path: Path) -> None:
    ended(tmp_path, "a", "job-1", "running")
    archive = JobArchive(tmp_path, "job-1")
    index = Index(None, tmp_path)
    lock = archive.lock_driver()
    index.update(tmp_path)
    assert [row["state"] for row in index.jobs(Wanted())] == ["running"]
    assert index.update(tmp_path).unchanged == 1
    os.close(lock)
    index.update(tmp_path)
    assert [row["state"] for row in index.jobs(Wanted())] == ["interrupted"]
    index.close()


def test_a_service_has_a_home_a_team(tmp_path: Path) -> None:
    ended(tmp_path / "teams" / "red", "a", "job-1")
    (tmp_path / "teams" / "idle").mkdir()
    assert homes_below(tmp_path) == [tmp_path, tmp_path / "teams" / "red"]


def test_a_home_without_a_name_that_cannot_get_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home.id").write_text("")
    with pytest.raises(ArchiveError, match="is empty"):
        store._home_id(tmp_path)
    (tmp_path / "home.id").unlink()
    first = store._home_id(tmp_path)
    assert first == store._home_id(tmp_path)
    shutil.copy(tmp_path / "home.id", tmp_path / "kept")
    assert (tmp_path / "kept").read_text().strip() == first
    with pytest.raises(ArchiveError, match="cannot be read or made"):
        store._home_id(tmp_path / "nowhere")
