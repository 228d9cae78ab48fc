"""At a job's end: bring its rows in the index up to date, where somebody named one."""

from __future__ import annotations

import os
import threading

from optikit.archive import JobArchive
from optikit.errors import OptikitError

__all__ = ["DEFAULT", "VARIABLE", "index_of_environment", "tell_index"]

VARIABLE = "OPTIKIT_INDEX_URL"
DEFAULT = "default"
"""Instead of a URL: the file in the home."""
_PATIENCE_S = 10.0


def index_of_environment() -> str | None:
    """The index that $OPTIKIT_INDEX_URL names; None: none."""
    return os.environ.get(VARIABLE) or None


def tell_index(archive: JobArchive, patience_s: float = _PATIENCE_S) -> None:
    """Index a job that ended; a failure is an event, and so is a database that does not answer.

    A thread does it, which may be left behind: a server that is stopped half-way answers no client
    library, whatever timeouts it was given. The process is about to end.

    Args:
        patience_s: for all of it.

    Raises:
        OptikitError, OSError: not even the event can be written.
    """
    url = index_of_environment()
    if url is None:
        return
    said: list[str] = []

    def work() -> None:
        try:
            from optikit.index.store import Index

            index = Index(url, archive.home)
            try:
                index.update_job(archive)
            finally:
                index.close()
        except ModuleNotFoundError as error:
            said.append(f"the index needs {error.name}; pip install 'optikit[index]'")
        except (OptikitError, OSError) as error:
            said.append(str(error))

    thread = threading.Thread(target=work, name="index", daemon=True)
    thread.start()
    thread.join(patience_s)
    if thread.is_alive():
        said.append(f"the index did not answer for {patience_s:g} s")
    if said:
        advice = "`optikit archive index` brings it up to date later"
        archive.event_now("index_failed", error=f"{said[0]}; {advice}")
