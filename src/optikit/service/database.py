"""Teams and jobs in a database: SQLite in the service's home, or PostgreSQL by URL.

What a job does is in its archive; here stands who submitted it, and how far it has come.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optikit.adapters.sql import Connection, Sql, facts_table, sa
from optikit.errors import BadInput, OptikitError
from optikit.spec.queue import QueuedJob, Team

__all__ = ["SCHEMA", "Database", "Entry", "TeamEntry"]

SCHEMA = 1
"""Version of the tables below; a service meets an older one by migrating it, a newer never."""
State = Literal["opening", "queued", "started", "ended"]

_ALL = sa.MetaData()
_FACTS = facts_table(_ALL, "optikit_facts")
_TEAMS = sa.Table(
    "optikit_teams",
    _ALL,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("quota", sa.JSON, nullable=False),
    sa.Column("token_sha256", sa.String(64)),  # NULL: nobody comes in by a token
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("removed_s", sa.Float),  # NULL: it is there
)
_JOBS = sa.Table(
    "optikit_jobs",
    _ALL,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(96), nullable=False, unique=True),
    sa.Column("team", sa.String(64), sa.ForeignKey(_TEAMS.c.name), nullable=False),
    sa.Column("home", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("submitted_s", sa.Float, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("idempotency_key", sa.String(255)),
    sa.Column("spec_digest", sa.String(80), nullable=False),
    sa.UniqueConstraint("team", "idempotency_key"),
)


@dataclass(frozen=True)
class Entry:
    """One job's row. ``opening``: its archive is being made, and the queue does not know it yet."""

    id: str
    team: str
    home: str
    priority: int
    submitted_s: float
    state: State
    spec_digest: str

    @property
    def queued(self) -> QueuedJob:
        """As the queue knows it."""
        return QueuedJob.parse({k: v for k, v in vars(self).items() if k != "spec_digest"})


@dataclass(frozen=True)
class TeamEntry:
    """One team's row."""

    team: Team
    token_sha256: str | None
    created_s: float
    removed: bool


_ENTRY = [_JOBS.c[name] for name in Entry.__dataclass_fields__]


class Database:
    """The book of the service (``service.base.Book``), and what else it must not forget.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER@HOST/NAME``; None: HOME/service.db.
        home: of the service.

    Raises:
        BadInput: no such kind of database, a password in the URL, or tables of a newer version.
        ArchiveError: it does not answer.
    """

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.home = home.resolve()
        self.own = url is None
        """Whether it is a file of the home, and moves with it."""
        self._sql = Sql("the service's database", "--database", url, self.home / "service.db")
        try:
            self._sql.prepare(_ALL, _FACTS, SCHEMA)
        except OptikitError:
            self.close()
            raise

    def close(self) -> None:
        """Give the connections back."""
        self._sql.close()

    def claim(self) -> None:
        """Become the database of this home, so that no two services share one.

        A file of the home may have moved with it: the jobs' folders are then where it is now.

        Raises:
            BadInput: it is another home's.
        """
        of = self._fact("home")
        if of == str(self.home):
            return
        if of is not None and not self.own:
            raise BadInput(
                f"the database {self._sql.shown} belongs to the service of {of}, not of "
                f"{self.home}; each home has a database of its own"
            )
        self._put_fact("home", str(self.home))
        with self._begin() as database:
            for (team,) in database.execute(sa.select(_TEAMS.c.name)).all():
                there = _JOBS.c.team == team
                database.execute(sa.update(_JOBS).where(there).values(home=str(self.home_of(team))))

    def home_of(self, team: str) -> Path:
        """The team's folder: its jobs, models and bundles."""
        return self.home / "teams" / team

    # -- teams

    def teams(self) -> list[Team]:
        """Every team that is there."""
        return [entry.team for entry in self.team_entries() if not entry.removed]

    def team_entries(self) -> list[TeamEntry]:
        """Every team, with those that were removed."""
        with self._begin() as database:
            rows = database.execute(sa.select(_TEAMS).order_by(_TEAMS.c.name)).all()
        return [
            TeamEntry(
                Team(name=row.name, weight=row.weight, quota=row.quota),
                row.token_sha256,
                row.created_s,
                row.removed_s is not None,
            )
            for row in rows
        ]

    def put_team(self, team: Team, token_sha256: str | None) -> None:
        """A new team, or the new state of one; a removed one is there again."""
        values = {
            "weight": team.weight,
            "quota": team.quota,
            "token_sha256": token_sha256,
            "removed_s": None,
        }
        there = _TEAMS.c.name == team.name
        with self._begin() as database:
            if database.execute(sa.update(_TEAMS).where(there).values(**values)).rowcount == 0:
                new = {"name": team.name, "created_s": time.time(), **values}
                database.execute(sa.insert(_TEAMS).values(**new))

    def remove_team(self, name: str) -> None:
        """Its token opens nothing any more; its jobs and folder stay."""
        gone = {"token_sha256": None, "removed_s": time.time()}
        with self._begin() as database:
            database.execute(sa.update(_TEAMS).where(_TEAMS.c.name == name).values(**gone))

    # -- jobs

    def live(self) -> list[QueuedJob]:
        """Jobs that have not ended, in the order of their submission."""
        return [entry.queued for entry in self._entries(_JOBS.c.state.in_(("queued", "started")))]

    def set_state(self, job_id: str, state: Literal["queued", "started", "ended"]) -> None:
        """How far a job has come."""
        with self._begin() as database:
            database.execute(sa.update(_JOBS).where(_JOBS.c.id == job_id).values(state=state))

    def reserve(self, job: QueuedJob, state: State, spec_digest: str, key: str | None) -> None:
        """Write down a job under its id, before (``opening``) or after its archive is made."""
        values = {**job.model_dump(), "state": state}
        with self._begin() as database:
            database.execute(
                sa.insert(_JOBS).values(**values, spec_digest=spec_digest, idempotency_key=key)
            )

    def forget(self, job_id: str) -> None:
        """Take back a reservation that came to nothing."""
        gone = sa.delete(_JOBS).where(_JOBS.c.id == job_id, _JOBS.c.state == "opening")
        with self._begin() as database:
            database.execute(gone)

    def find(self, team: str, job_id: str) -> Entry | None:
        """The team's job of that id; None where there is none, or it is another team's."""
        mine = sa.and_(_JOBS.c.id == job_id, _JOBS.c.team == team, _JOBS.c.state != "opening")
        return next(iter(self._entries(mine)), None)

    def of_key(self, team: str, key: str) -> Entry | None:
        """The job that the team submitted under an idempotency key."""
        asked = sa.and_(_JOBS.c.team == team, _JOBS.c.idempotency_key == key)
        return next(iter(self._entries(asked)), None)

    def page(self, team: str, limit: int, before: str | None = None) -> list[Entry]:
        """The team's jobs, newest first.

        Args:
            before: id of a job of the team; only older ones.
        """
        mine = sa.and_(_JOBS.c.team == team, _JOBS.c.state != "opening")
        if before is not None:
            edge = sa.select(_JOBS.c.number).where(_JOBS.c.id == before, _JOBS.c.team == team)
            mine = sa.and_(mine, _JOBS.c.number < edge.scalar_subquery())
        return self._entries(mine, limit, newest_first=True)

    def count_live(self, team: str) -> int:
        """Jobs of the team that have not ended."""
        live = sa.and_(_JOBS.c.team == team, _JOBS.c.state != "ended")
        with self._begin() as database:
            return int(
                database.execute(
                    sa.select(sa.func.count()).select_from(_JOBS).where(live)
                ).scalar_one()
            )

    def opening(self) -> list[Entry]:
        """Reservations whose archive may or may not be whole: a service died while it opened."""
        return self._entries(_JOBS.c.state == "opening")

    def ids(self, team: str) -> set[str]:
        """Every job of the team."""
        return {entry.id for entry in self._entries(_JOBS.c.team == team)}

    # -- how it is asked

    def _entries(
        self, which: sa.ColumnElement[bool], limit: int | None = None, newest_first: bool = False
    ) -> list[Entry]:
        order = _JOBS.c.number.desc() if newest_first else _JOBS.c.number
        asked = sa.select(*_ENTRY).where(which).order_by(order).limit(limit)
        with self._begin() as database:
            return [Entry(**row._mapping) for row in database.execute(asked)]

    def _fact(self, key: str) -> str | None:
        asked = sa.select(_FACTS.c.value).where(_FACTS.c.key == key)
        with self._begin() as database:
            return database.execute(asked).scalar_one_or_none()

    def _put_fact(self, key: str, value: str) -> None:
        with self._begin() as database:
            database.execute(sa.delete(_FACTS).where(_FACTS.c.key == key))
            database.execute(sa.insert(_FACTS).values(key=key, value=value))

    def _begin(self) -> AbstractContextManager[Connection]:
        """One transaction; see ``Sql.begin`` for what it raises."""
        return self._sql.begin()
