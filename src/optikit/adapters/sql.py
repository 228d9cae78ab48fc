"""The only importer of SQLAlchemy: databases by URL, and what may go wrong with them.

Tables and queries are written in its language, ``sa``; who has some imports it from here. SQLite in
a file, or PostgreSQL.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from optikit.errors import ArchiveError, BadInput
from optikit.spec.database import without_password

__all__ = ["Connection", "Sql", "facts_table", "json_column", "sa"]

Connection = sa.Connection
_BUSY_S = 15
_CONNECT_S = 10
_MAKING = 7_014_518_226
"""The advisory lock under which tables are made."""
_READS = frozenset(
    {
        *(sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION),
        sqlite3.SQLITE_RECURSIVE,
    }
)


def facts_table(tables: sa.MetaData, name: str) -> sa.Table:
    """A table of keys and values, which says the version of the others."""
    return sa.Table(
        name,
        tables,
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def json_column() -> sa.types.TypeEngine[Any]:
    """JSON that each kind of database can look into: JSONB where it is PostgreSQL."""
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


class Sql:
    """A database; nothing is connected before it is asked something.

    Args:
        what: it is, for messages: ``the service's database``.
        option: by which the URL was given, for messages: ``--database``.
        url: ``sqlite:///PATH`` or ``postgresql://USER@HOST/NAME``; None: ``file``.
        file: made where it is missing, for its owner alone; unless ``read_only``.
        read_only: nothing can be written by this one.

    Raises:
        BadInput: no such kind of database, a password in the URL, or no driver for it.
    """

    def __init__(
        self, what: str, option: str, url: str | None, file: Path, read_only: bool = False
    ) -> None:
        self.shown = url.partition("?")[0] if url else str(file)
        """The URL without its settings, or the file."""
        self._what, self._option = what, option
        self._read_only = read_only
        place = self._file(file) if url is None else self._place(url)
        if place.drivername == "postgresql":
            place = place.set(drivername="postgresql+psycopg")
        lite = place.get_backend_name() == "sqlite"
        patience = {} if lite or _said_how_long(place) else {"connect_timeout": _CONNECT_S}
        try:
            self._engine = sa.create_engine(place, pool_pre_ping=not lite, connect_args=patience)
        except (ModuleNotFoundError, sa.exc.ArgumentError) as error:
            raise BadInput(
                f"{option}: {place.drivername} cannot be used ({error}); "
                "pip install 'optikit[postgres]' brings PostgreSQL's driver"
            ) from None
        if lite:
            settings = _as_a_reader_needs if read_only else _as_a_server_needs
            sa.event.listen(self._engine, "connect", settings)

    def _file(self, file: Path) -> sa.URL:
        if self._read_only:
            name = f"file:{quote(str(file))}"
            return sa.URL.create("sqlite", database=name, query={"mode": "ro", "uri": "true"})
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return sa.URL.create("sqlite", database=str(file))

    def _place(self, url: str) -> sa.URL:
        try:
            place = sa.make_url(without_password(url, ("sqlite", "postgresql"), "process lists"))
        except (ValueError, sa.exc.ArgumentError) as error:
            raise BadInput(f"{self._option}: {error}") from None
        if self._read_only and place.get_backend_name() == "sqlite" and place.database:
            return self._file(Path(place.database).absolute())
        return place

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction; an error within undoes it.

        Raises:
            ArchiveError: the database does not do what was asked; may be tried again.
        """
        with self._in_words(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            said = str(cause).strip().partition("\n")[0][:200]
            raise ArchiveError(
                f"{self._what} {self.shown} does not do what was asked: {said}"
            ) from None

    def prepare(self, tables: sa.MetaData, facts: sa.Table, schema: int) -> None:
        """Make the tables, or see that they are ours; several may do so at once.

        Raises:
            BadInput: they were made by a newer version.
            ArchiveError: the database does not answer.
        """
        with self.begin() as connection:
            there = sa.inspect(connection).has_table(facts.name)
        if not there:
            with self.begin() as connection:
                self._alone(connection)
                if not sa.inspect(connection).has_table(facts.name):
                    tables.create_all(connection)
                    connection.execute(sa.insert(facts).values(key="schema", value=str(schema)))
        self.check(facts, schema)

    def check(self, facts: sa.Table, schema: int) -> None:
        """See that the tables are there, and not of a newer version.

        Raises:
            BadInput: they are not.
            ArchiveError: the database does not answer.
        """
        with self.begin() as connection:
            if not sa.inspect(connection).has_table(facts.name):
                raise BadInput(f"{self._what} {self.shown} is empty: nothing was written to it yet")
            asked = sa.select(facts.c.value).where(facts.c.key == "schema")
            found = int(connection.execute(asked).scalar_one_or_none() or 0)
        if found > schema:
            raise BadInput(
                f"the database {self.shown} was made by a newer OptiKIT (schema {found}, this one "
                f"knows {schema}); start that version, or name another database with "
                f"{self._option}"
            )

    def _alone(self, connection: sa.Connection) -> None:
        """Until the transaction's end nobody else makes tables."""
        if self._engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))

    def put(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert a row, or bring the one of its key up to date; its row is then locked."""
        lite = self._engine.dialect.name == "sqlite"
        kind: Any = sqlite.insert if lite else postgresql.insert
        asked = kind(table).values(**row)
        keys = [column.name for column in table.primary_key]
        new = {name: asked.excluded[name] for name in row if name not in keys}
        connection.execute(asked.on_conflict_do_update(index_elements=keys, set_=new))

    def ask(self, text: str, most: int) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Names of the columns, and at most ``most`` rows, of a query that somebody wrote.

        It may only read: SQLite is told what statements may do, and PostgreSQL that the transaction
        is a reading one, with one statement in it.

        Raises:
            BadInput: it asks for no rows, or the database refuses it.
            ArchiveError: the database does not answer.
        """
        with self._in_words(), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            try:
                if self._engine.dialect.name == "sqlite":
                    raw.set_authorizer(_only_reads)
                    cursor = raw.execute(text)
                else:
                    raw.execute("SET TRANSACTION READ ONLY")
                    cursor = raw.cursor()
                    cursor.execute(text, prepare=True)  # of several statements it takes none
                if cursor.description is None:
                    raise BadInput("the query asks for no rows; write it as SELECT ...")
                names = [column[0] for column in cursor.description]
                return names, [tuple(row) for row in cursor.fetchmany(most)]
            except _dbapi_errors(self._engine) as error:
                said = " ".join(str(error).split())[:300]
                raise BadInput(f"{self._what} {self.shown} refuses the query: {said}") from None
            finally:
                connection.invalidate()  # what the query did to the session ends with it


def _dbapi_errors(engine: sa.Engine) -> type[Exception]:
    found: type[Exception] = engine.dialect.loaded_dbapi.Error
    return found


def _said_how_long(place: sa.URL) -> bool:
    return "connect_timeout" in place.query or "PGCONNECT_TIMEOUT" in os.environ


def _only_reads(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _as_a_reader_needs(connection: Any, record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000}").close()


def _as_a_server_needs(connection: Any, record: object) -> None:
    """Readers beside a writer, and a writer that waits for another instead of failing."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
