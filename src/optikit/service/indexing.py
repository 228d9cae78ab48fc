"""Keeps an index of all teams' jobs up to date while the service runs.

In a thread of its own: an index that is down or slow costs the queue nothing, and what it missed it
has after the next round.
"""

from __future__ import annotations

import logging
import threading

from optikit.errors import OptikitError
from optikit.index.store import Index
from optikit.service.database import Database

__all__ = ["Indexing"]

_LOG = logging.getLogger(__name__)
_EVERY_S = 15.0


class Indexing:
    """See above.

    Args:
        database: whose teams' homes are read.
        url: of the index; ``default``: a file in the service's home.
        option: by which the URL was given, for messages.

    Raises:
        BadInput: the URL cannot be used.
    """

    def __init__(self, database: Database, url: str, option: str = "--index") -> None:
        self._database = database
        self._index = Index(url, database.home, option)
        self._trouble = ""
        """Said once, until it is over."""

    def run(self, stop: threading.Event) -> None:
        """Round after round until ``stop`` is set."""
        while not stop.is_set():
            self.once()
            stop.wait(_EVERY_S)
        self._index.close()

    def once(self) -> None:
        """One round over all homes; trouble is logged."""
        trouble = ""
        try:
            for entry in self._database.team_entries():
                home = self._database.home_of(entry.team.name)
                if home.is_dir():
                    self._index.update(home)
        except (OptikitError, OSError) as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            _LOG.warning("the index is behind: %s", trouble)
        elif self._trouble and not trouble:
            _LOG.info("the index %s is up to date again", self._index.shown)
        self._trouble = trouble
