"""The index in its database: brought up to date from the archives, and asked.

A job is one transaction: its row is locked first, and what was read is written only where the
journal is still as it was read. So several that index at once, of the same home too, never put an
older state over a newer one.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optikit.adapters.sql import Connection, Sql, sa
from optikit.archive import JobArchive, jobs, open_job
from optikit.errors import ArchiveError, BadInput, OptikitError
from optikit.index.rows import damaged, listed, moment, rows_of
from optikit.index.tables import ALL, FACTS, HOMES, JOBS, OF_A_JOB, SCHEMA
from optikit.index.telling import DEFAULT, VARIABLE
from optikit.spec.listing import Wanted

__all__ = ["Index", "Indexed", "homes_below", "index_file"]

_TRIES = 5
"""Of a job whose journal goes on while it is read."""
_ID_FILE = "home.id"


@dataclass(frozen=True)
class Indexed:
    """What became of a home's jobs."""

    home: str
    read: int = 0
    """Jobs whose rows were written."""
    unchanged: int = 0
    removed: int = 0
    """Jobs that were found to be gone."""
    damaged: tuple[str, ...] = ()
    """Ids of jobs whose archive cannot be read."""


class _Moved(Exception):
    """The journal went on while it was read."""


def index_file(home: Path) -> Path:
    """The index of a home that nobody named another one for."""
    return home / "index.db"


def homes_below(home: Path) -> list[Path]:
    """The home, and those of a service's teams in it."""
    teams = home / "teams"
    found = sorted(teams.iterdir()) if teams.is_dir() else []
    return [home, *(team for team in found if (team / "jobs").is_dir())]


class Index:
    """See above; nothing is connected before it is used.

    Args:
        url: ``sqlite:///PATH``, ``postgresql://USER@HOST/NAME``; None, ``default``: HOME/index.db.
        home: see ``url``.
        option: by which the URL was given, for messages.
        read_only: for asking alone.

    Raises:
        BadInput: the URL cannot be used.
    """

    def __init__(
        self, url: str | None, home: Path, option: str = VARIABLE, read_only: bool = False
    ) -> None:
        named = None if url in (None, DEFAULT) else url
        file = index_file(home.resolve())
        if read_only and named is None and not file.exists():
            raise BadInput(f"there is no index {file}; make one with `optikit archive index`")
        self._sql = Sql("the index", option, named, file, read_only)
        self.shown = self._sql.shown

    def close(self) -> None:
        """Give the connections back."""
        self._sql.close()

    # -- written

    def update(self, home: Path, names: Sequence[str] = (), rebuild: bool = False) -> Indexed:
        """Bring a home's jobs up to date; what did not change is not read.

        Args:
            names: ids, unique beginnings of them, or ``last``; none: every job.
            rebuild: read every job again, and forget those that are gone.

        Raises:
            UnknownName: no such job.
            BadInput: the tables are a newer version's.
            ArchiveError: the database does not answer, or the home has no id and cannot be written.
        """
        home = home.resolve()
        found = [open_job(home, name) for name in names] if names else jobs(home)
        return self._update(home, found, gone=not names, rebuild=rebuild)

    def update_job(self, archive: JobArchive) -> Indexed:
        """Bring one job up to date."""
        return self._update(archive.home, [archive], gone=False, rebuild=False)

    def _update(
        self, home: Path, found: Iterable[JobArchive], gone: bool, rebuild: bool
    ) -> Indexed:
        self._sql.prepare(ALL, FACTS, SCHEMA)
        home_id = _home_id(home)
        here = {"home_id": home_id, "host": socket.gethostname(), "path": str(home)}
        with self._sql.begin() as connection:
            self._sql.put(connection, HOMES, here)
        known = self._known(home_id)
        read = unchanged = 0
        broken: list[str] = []
        there: set[str] = set()
        for archive in found:
            there.add(archive.job_id)
            if not rebuild and not _changed(archive, known.get(archive.job_id)):
                unchanged += 1
                continue
            if self._write(home_id, archive):
                broken.append(archive.job_id)
            read += 1
        removed = 0
        if gone:
            removed = self._gone(home, home_id, set(known) - there, forget=rebuild)
            with self._sql.begin() as connection:
                self._sql.put(connection, HOMES, {**here, "indexed_at": moment(time.time())})
        return Indexed(str(home), read, unchanged, removed, tuple(broken))

    def _known(self, home_id: str) -> dict[str, Any]:
        asked = sa.select(JOBS.c.job_id, JOBS.c.seen, JOBS.c.state, JOBS.c.removed_at)
        with self._sql.begin() as connection:
            rows = connection.execute(asked.where(JOBS.c.home_id == home_id)).all()
        return {row.job_id: row for row in rows}

    def _write(self, home_id: str, archive: JobArchive) -> bool:
        """Put a job's rows in place of those that are there; whether it is damaged."""
        for attempt in range(_TRIES):
            seen = _seen(archive)
            try:
                rows = rows_of(archive)
            except OptikitError as error:
                rows = damaged(archive, str(error))
            try:
                with self._sql.begin() as connection:
                    self._replace(connection, home_id, archive.job_id, seen, rows)
                    if attempt + 1 < _TRIES and _seen(archive) != seen:
                        raise _Moved
            except _Moved:
                continue
            break
        return bool(rows["archive_jobs"][0]["state"] == "damaged")

    def _replace(
        self, connection: Connection, home_id: str, job_id: str, seen: str, rows: Any
    ) -> None:
        key = {"home_id": home_id, "job_id": job_id}
        empty = {column.name: None for column in JOBS.columns}
        own = {"seen": seen, "indexed_at": moment(time.time()), "removed_at": None}
        self._sql.put(connection, JOBS, {**empty, **rows["archive_jobs"][0], **own, **key})
        for table in reversed(OF_A_JOB):
            mine = (table.c.home_id == home_id) & (table.c.job_id == job_id)
            connection.execute(sa.delete(table).where(mine))
        for table in OF_A_JOB:
            if found := rows.get(table.name):
                connection.execute(sa.insert(table), [{**row, **key} for row in found])

    def _gone(self, home: Path, home_id: str, ids: set[str], forget: bool) -> int:
        """Jobs that are not there any more: marked, or forgotten."""
        count = 0
        for job_id in sorted(ids):
            if JobArchive(home, job_id).whole:
                continue
            mine = (JOBS.c.home_id == home_id) & (JOBS.c.job_id == job_id)
            mark = sa.update(JOBS).where(mine & JOBS.c.removed_at.is_(None))
            asked: Any = mark.values(removed_at=moment(time.time()))
            if forget:
                asked = sa.delete(JOBS).where(mine)
            with self._sql.begin() as connection:
                count += connection.execute(asked).rowcount
        return count

    # -- asked

    def jobs(self, wanted: Wanted) -> list[dict[str, Any]]:
        """As ``jobs.list_jobs``, oldest first, of every home; those that were removed are left out.

        Raises:
            BadInput: there is no index, or it is a newer version's.
            ArchiveError: it does not answer.
        """
        self._sql.check(FACTS, SCHEMA)
        which: Any = JOBS.c.removed_at.is_(None)
        if wanted.states:
            which &= JOBS.c.state.in_(wanted.states)
        if wanted.model is not None:
            full = JOBS.c.model_name + ":" + JOBS.c.model_version
            which &= (JOBS.c.model_name == wanted.model) | (full == wanted.model)
        if wanted.team is not None:
            which &= JOBS.c.team == wanted.team
        if wanted.since is not None:
            which &= JOBS.c.created_at >= datetime.fromisoformat(wanted.since).astimezone(UTC)
        asked = sa.select(JOBS, HOMES.c.path.label("home")).join(HOMES).where(which)
        asked = asked.order_by(JOBS.c.created_at.desc(), JOBS.c.job_id.desc()).limit(wanted.limit)
        with self._sql.begin() as connection:
            found = connection.execute(asked).all()
        return [{**listed(row), "home": row.home} for row in reversed(found)]

    def ask(self, query: str, most: int) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Names of the columns, and at most ``most`` rows, of a query that may only read.

        Raises:
            BadInput: there is no index, it is a newer version's, or it refuses the query.
            ArchiveError: it does not answer.
        """
        self._sql.check(FACTS, SCHEMA)
        return self._sql.ask(query, most)


def _seen(archive: JobArchive) -> str:
    """By what a change of the job is found: sizes and times of what it is read from."""
    found = []
    for file in (archive.journal, archive.root / "queue.json"):
        try:
            stat = file.stat()
        except OSError:
            found.append("-")
        else:
            found.append(f"{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ino}")
    return " ".join(found)


def _changed(archive: JobArchive, known: Any) -> bool:
    """Whether the job has to be read; of a driver that died the journal says nothing."""
    if known is None or known.removed_at is not None or known.seen != _seen(archive):
        return True
    return known.state == "running" and not archive.driver_alive()


def _home_id(home: Path) -> str:
    """What the home is called wherever it is mounted or moved to.

    Raises:
        ArchiveError: it has no name yet, and cannot be written.
    """
    file = home / _ID_FILE
    try:
        with_name = file.with_name(f".{_ID_FILE}.{os.getpid()}.{time.monotonic_ns()}")
        if not file.exists():
            with_name.write_text(f"{os.urandom(8).hex()}\n")
            try:
                os.link(with_name, file)  # whole, and of several only the first
            except FileExistsError:
                pass
            finally:
                with_name.unlink()
        found = file.read_text().strip()
    except OSError as error:
        raise ArchiveError(
            f"{file} cannot be read or made: {error.strerror}. It names the home in an index; "
            "index the home once from where it can be written"
        ) from None
    if not found:
        raise ArchiveError(f"{file} is empty; remove it, and the home gets a new name")
    return found[:64]
