"""The queue of a service with one job in it, in a process that can be killed.

python benchmarks/_fault_service.py HOME JOB_ID POOL
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from optikit.service.dispatch import Dispatcher
from optikit.spec.queue import Node, QueuedJob, Team


class Book:
    """One job's row, in a file beside its home: it outlives the process."""

    def __init__(self, home: Path, job_id: str) -> None:
        self._file = home.parent / "book.json"
        self._home, self._job = home, job_id

    def live(self) -> list[QueuedJob]:
        """The job, until it has ended."""
        row = QueuedJob(
            id=self._job, team="a", home=str(self._home), submitted_s=time.time(), state=self._state
        )
        return [] if row.state == "ended" else [row]

    @property
    def _state(self) -> Literal["queued", "started", "ended"]:
        if not self._file.exists():
            return "queued"
        found: Literal["queued", "started", "ended"] = json.loads(self._file.read_text())
        return found

    def teams(self) -> list[Team]:
        """One."""
        return [Team(name="a")]

    def set_state(self, job_id: str, state: Literal["queued", "started", "ended"]) -> None:
        """Keep it."""
        self._file.write_text(json.dumps(state))


if __name__ == "__main__":
    book = Book(Path(sys.argv[1]), sys.argv[2])
    nodes = [Node(name="here", kind="H100", devices=2)]
    Dispatcher(book, lambda: nodes, pool=sys.argv[3]).run(threading.Event())
