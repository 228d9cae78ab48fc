"""What every book of the service promises; inherited for each kind of database."""

from __future__ import annotations

from pathlib import Path

import pytest

from optikit.errors import BadInput
from optikit.service.base import Book
from optikit.service.database import SCHEMA, Database
from optikit.service.teams import add, change, remove
from optikit.spec.queue import QueuedJob, Team


def job(number: int, team: str = "a", **changes: object) -> QueuedJob:
    """A row; larger numbers were submitted earlier by their clocks."""
    return QueuedJob.parse(
        {
            "id": f"job-{number:04d}",
            "team": team,
            "home": f"/home of/{team}",
            "submitted_s": 2e9 - number + 0.125,
            **changes,
        }
    )


class BookContract:
    """Inherit it and give a fixture ``database``: empty, with nobody else at it."""

    @pytest.fixture
    def database(self, tmp_path: Path) -> Database:
        raise NotImplementedError

    @pytest.fixture
    def book(self, database: Database) -> Database:
        """With the teams a and b."""
        add(database, Team(name="a", weight=2.5, quota={"H100": 8}))
        add(database, Team(name="b"))
        return database

    def test_it_is_a_book(self, book: Database) -> None:
        as_asked: Book = book
        assert as_asked.teams() == [Team(name="a", weight=2.5, quota={"H100": 8}), Team(name="b")]
        assert as_asked.live() == []

    def test_live_jobs_come_in_the_order_of_their_submission(self, book: Database) -> None:
        """Of the rows, not of the clocks, which may jump."""
        for number in range(6):
            book.reserve(job(number, "ab"[number % 2], priority=number), "queued", "d", None)
        book.set_state("job-0003", "ended")
        book.set_state("job-0004", "started")
        assert [row.id for row in book.live()] == [f"job-000{n}" for n in (0, 1, 2, 4, 5)]
        assert book.live()[3] == job(4, "a", priority=4, state="started")

    def test_a_change_is_seen_by_another_connection(self, book: Database) -> None:
        book.reserve(job(1), "queued", "d", None)
        other = self.again(book)
        other.set_state("job-0001", "started")
        assert [row.state for row in book.live()] == ["started"]
        change(other, "a", 0.5, None)
        assert book.teams()[0] == Team(name="a", weight=0.5, quota={"H100": 8})
        other.close()

    def again(self, book: Database) -> Database:
        """The same database, opened once more."""
        raise NotImplementedError

    def test_what_is_being_opened_is_nobodys_job_yet(self, book: Database) -> None:
        book.reserve(job(1), "opening", "d", "key")
        assert book.live() == []
        assert book.find("a", "job-0001") is None
        assert book.page("a", 10) == []
        assert [entry.id for entry in book.opening()] == ["job-0001"]
        assert book.count_live("a") == 1
        book.set_state("job-0001", "queued")
        book.forget("job-0001")
        assert [row.id for row in book.live()] == ["job-0001"], "only an opening one is forgotten"

    def test_a_forgotten_reservation_frees_its_key(self, book: Database) -> None:
        book.reserve(job(1), "opening", "d", "key")
        book.forget("job-0001")
        assert book.of_key("a", "key") is None
        book.reserve(job(2), "opening", "d", "key")

    def test_a_key_is_a_teams_own(self, book: Database) -> None:
        book.reserve(job(1, "a"), "queued", "d1", "key")
        book.reserve(job(2, "b"), "queued", "d2", "key")
        found = [book.of_key(team, "key") for team in "ab"]
        assert [(e.id, e.spec_digest) for e in found if e] == [
            ("job-0001", "d1"),
            ("job-0002", "d2"),
        ]

    def test_a_team_finds_its_own_jobs_alone(self, book: Database) -> None:
        book.reserve(job(1, "a"), "queued", "d", None)
        assert book.find("a", "job-0001") is not None
        assert book.find("b", "job-0001") is None
        assert book.ids("b") == set()

    def test_pages_lead_from_the_newest_to_the_oldest_job(self, book: Database) -> None:
        for number in range(7):
            book.reserve(job(number, "ab"[number % 2]), "queued", "d", None)
        first = book.page("a", 2)
        second = book.page("a", 2, first[-1].id)
        assert [e.id for e in first + second] == [f"job-000{n}" for n in (6, 4, 2, 0)]
        assert book.page("a", 2, second[-1].id) == []
        assert book.page("a", 2, "job-0001") == [], "another team's job is no place to go on from"

    def test_a_removed_team_is_gone_and_may_come_again(self, book: Database) -> None:
        book.reserve(job(1), "queued", "d", None)
        with pytest.raises(BadInput, match="have not ended"):
            remove(book, "a")
        book.set_state("job-0001", "ended")
        remove(book, "a")
        assert [team.name for team in book.teams()] == ["b"]
        with pytest.raises(BadInput, match="--again"):
            add(book, Team(name="a"))
        add(book, Team(name="a"), again=True)
        assert book.find("a", "job-0001") is not None

    def test_tables_of_a_newer_version_are_left_alone(self, book: Database) -> None:
        book._put_fact("schema", str(SCHEMA + 1))
        with pytest.raises(BadInput, match="newer OptiKIT"):
            self.again(book)
