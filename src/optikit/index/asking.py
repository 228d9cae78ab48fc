"""What a program does with an index: fill it, list jobs from it, ask it; SQLAlchemy comes late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optikit.archive import default_home
from optikit.errors import OptikitError
from optikit.index.telling import VARIABLE, index_of_environment
from optikit.spec.listing import EVERY_JOB, Wanted

if TYPE_CHECKING:
    from optikit.index.store import Index, Indexed

__all__ = ["ask_index", "index_archives", "list_indexed"]


def index_archives(
    names: Sequence[str] = (),
    url: str | None = None,
    home: Path | None = None,
    rebuild: bool = False,
) -> tuple[str, list[Indexed]]:
    """Bring an index up to date; where it is, and what became of each home's jobs.

    Args:
        names: ids of the home, unique beginnings of them, or ``last``; none: every job, of a
            service's home those of each team too.
        url: None: $OPTIKIT_INDEX_URL; ``default`` or nothing said: a file in the home.
        rebuild: read every job again, and forget those that are gone.

    Raises:
        UnknownName: no such job.
        BadInput: the URL cannot be used, or the tables are a newer version's.
        OptikitError: the database does not answer, or a library is missing.
    """
    root = (home or default_home()).resolve()
    with _index(url, root, "--to", read_only=False) as index:
        from optikit.index.store import homes_below

        of = [root] if names else homes_below(root)
        return index.shown, [index.update(one, names, rebuild) for one in of]


def list_indexed(
    url: str | None = None, wanted: Wanted = EVERY_JOB, home: Path | None = None
) -> list[dict[str, Any]]:
    """As ``list_jobs``, with the home of each, from the index.

    Raises:
        BadInput: there is no index, or it is a newer version's.
        OptikitError: it does not answer, or a library is missing.
    """
    with _index(url, (home or default_home()).resolve(), "--index", read_only=True) as index:
        return index.jobs(wanted)


def ask_index(
    query: str, url: str | None = None, most: int = 1000, home: Path | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of the columns, and at most ``most`` rows, of a query that may only read.

    Raises:
        BadInput: there is no index, it is a newer version's, or it refuses the query.
        OptikitError: it does not answer, or a library is missing.
    """
    with _index(url, (home or default_home()).resolve(), "--index", read_only=True) as index:
        return index.ask(query, most)


@contextmanager
def _index(url: str | None, home: Path, option: str, read_only: bool) -> Iterator[Index]:
    try:
        from optikit.index.store import Index
    except ModuleNotFoundError as error:
        raise OptikitError(f"an index needs {error.name}; pip install 'optikit[index]'") from None
    named, option = (url, option) if url else (index_of_environment(), f"${VARIABLE}")
    found = Index(named, home, option, read_only)
    try:
        yield found
    finally:
        found.close()
