"""SQLite: the contract of the book, and what a file of its own needs."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.errors import ArchiveError, BadInput
from optikit.service.database import Database
from tests.book_contract import BookContract, job
from tests.service_case import Service


class TestSqlite(BookContract):
    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Database]:
        made = Database(tmp_path / "a home")
        yield made
        made.close()

    def again(self, book: Database) -> Database:
        return Database(book.home)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "home")
    database.close()
    assert stat.S_IMODE((tmp_path / "home" / "service.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@db/optikit", "holds a password"),
        ("postgresql://me@db/optikit?password=secret", "holds a password"),
        ("mysql://me@db/optikit", "no database URL"),
        ("service.db", "no database URL"),
        ("postgresql://me@db:x/optikit", "--database"),
        ("sqlite+nosuch:///x.db", "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secret(
    tmp_path: Path, url: str, said: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        Database(tmp_path, url)
    assert "secret" not in str(refused.value)


def test_a_database_that_does_not_answer_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "service.db").write_text("no database" * 100)
    with pytest.raises(ArchiveError, match=r"service\.db does not do what was asked"):
        Database(tmp_path)


def test_a_home_that_moved_takes_its_jobs_with_it(tmp_path: Path) -> None:
    service = Service(tmp_path / "old")
    service.database.reserve(job(1, home=str(tmp_path / "old/teams/a")), "queued", "d", None)
    service.database.close()
    (tmp_path / "old").rename(tmp_path / "new")
    database = Database(tmp_path / "new")
    database.claim()
    assert [row.home for row in database.live()] == [str(tmp_path / "new/teams/a")]
    database.close()


def test_two_homes_do_not_share_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    first, second = Database(tmp_path / "one", url), Database(tmp_path / "two", url)
    first.claim()
    first.claim()
    with pytest.raises(BadInput, match="belongs to the service of"):
        second.claim()
    first.close()
    second.close()
