"""Where a team's wishes are met: submit, plan, cancel, resume, and who is asking.

It knows nothing of HTTP. One process serves a home, so a lock a team is enough to keep a key from
being used twice.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optikit.adapters.leftovers import sweep
from optikit.api import Submitter
from optikit.archive import JobArchive, is_id, new_id
from optikit.core.paths import rooted
from optikit.errors import BadInput, Cancelled, OptikitError, SpecError
from optikit.jobs import Job
from optikit.reports.summary import FINAL, state_of
from optikit.service import reading
from optikit.service.base import QueueView
from optikit.service.database import Database, Entry, TeamEntry
from optikit.service.limits import Buckets, Limits, check_text
from optikit.service.reconcile import remove_half
from optikit.service.refusals import Conflict, NotAllowed, NotFound, TooMany
from optikit.service.teams import OPEN_TEAM
from optikit.service.tokens import digest_of_token, same_digest
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.queue import QueuedJob, Team

__all__ = ["Desk"]

_LOG = logging.getLogger(__name__)
_NO_PATH = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
        *(errno.EACCES, errno.EPERM, errno.ENXIO, errno.EINVAL),
    }
)
_AGAIN_S = 60.0
"""When a team with too many live jobs may try again."""


class Desk:
    """See above; every method may be called from any thread.

    Args:
        database: reconciled.
        queue: what may be shown of it.
        submitter: for a team's home.
        open_team: whether who has no token is the team ``default``, as long as there is no other.
    """

    def __init__(
        self,
        database: Database,
        queue: QueueView,
        submitter: Callable[[Path], Submitter] = Submitter,
        limits: Limits | None = None,
        open_team: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self._database, self._queue, self._submitter = database, queue, submitter
        self._open_team = open_team
        self._buckets = Buckets(self.limits.per_minute, self.limits.burst)
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._cancelling: set[str] = set()

    def check(self) -> None:
        """Raise what keeps the database from its work."""
        self._database.team_entries()

    # -- who

    def team(self, token: str | None) -> Team:
        """Whose token it is.

        Raises:
            NotAllowed: nobody's, or none where one is needed.
        """
        if token is not None:
            return self.team_of(digest_of_token(token))
        entries = self._entries()
        alone = [entry.team for entry in entries if entry.token_sha256 is None]
        if self._open_team and len(entries) == 1 and [t.name for t in alone] == [OPEN_TEAM]:
            return alone[0]
        raise NotAllowed("the service asks for a token: Authorization: Bearer TOKEN")

    def team_of(self, token_sha256: str) -> Team:
        """Whose token has this digest.

        Raises:
            NotAllowed: nobody's.
        """
        found = None
        for entry in self._entries():  # all of them, whichever it is
            if entry.token_sha256 is not None and same_digest(entry.token_sha256, token_sha256):
                found = entry.team
        if found is None:
            raise NotAllowed("the token is no team's; it may have been replaced")
        return found

    def _entries(self) -> list[TeamEntry]:
        return [entry for entry in self._database.team_entries() if not entry.removed]

    def home(self, team: Team) -> Path:
        """The team's folder."""
        return self._database.home_of(team.name)

    def entry(self, team: Team, job_id: str) -> Entry:
        """The team's job.

        Raises:
            NotFound: there is none; another team's is none.
        """
        found = self._database.find(team.name, job_id) if is_id(job_id) else None
        if found is None:
            raise NotFound(f"no job {job_id!a:.100} of team {team.name}")
        return found

    def page(self, team: Team, limit: int, before: str | None) -> list[Entry]:
        """The team's jobs, newest first, from below ``before`` on.

        Raises:
            NotFound: no job ``before``.
        """
        if before is not None:
            self.entry(team, before)
        return self._database.page(team.name, limit, before)

    # -- new jobs

    def plan(self, team: Team, spec: dict[str, Any]) -> Plan:
        """What would run; starts nothing.

        Raises:
            BadInput: the spec, or what it names, cannot be used.
            TooMany: the team asked too often.
        """
        self._buckets.take(team.name)
        home = self.home(team)
        with _paths_of_the_spec():
            return self._submitter(home).plan(self._parsed(spec, home))

    def submit(
        self, team: Team, spec: dict[str, Any], priority: int, key: str | None
    ) -> tuple[Entry, bool]:
        """A new job in the queue, or the one that was submitted under this key; whether it is new.

        Args:
            key: the same one with the same spec is the same job, however often it is sent.

        Raises:
            BadInput: the spec, or what it names, cannot be used.
            Conflict: another spec was submitted under this key.
            TooMany: the team asked too often, or has too many live jobs.
        """
        self._buckets.take(team.name)
        digest = _digest(spec, priority)
        with self._turns[team.name]:
            known = self._database.of_key(team.name, key) if key else None
            if known is not None:
                if known.spec_digest != digest:
                    raise Conflict(
                        f"the Idempotency-Key was used for job {known.id}, with another spec or "
                        "priority; take a new key for a new job"
                    )
                return known, False
            self._must_have_room(team)
            return self._opened(team, spec, priority, key, digest), True

    def _opened(
        self, team: Team, spec: dict[str, Any], priority: int, key: str | None, digest: str
    ) -> Entry:
        """Row, archive, queue: in this order, see reconcile.py."""
        home = self.home(team)
        job = self._parsed(spec, home)
        row = QueuedJob(
            id=new_id(),
            team=team.name,
            home=str(home),
            priority=priority,
            submitted_s=time.time(),
        )
        self._database.reserve(row, "opening", digest, key)
        whole = False
        try:
            with _paths_of_the_spec():
                self._submitter(home).open(job, row.id, {"folder": str(home)})
            whole = True
        finally:
            if not whole:
                remove_half(JobArchive(home, row.id))
                self._database.forget(row.id)
        self._database.set_state(row.id, "queued")
        return self.entry(team, row.id)

    def _parsed(self, spec: dict[str, Any], home: Path) -> OptimizationJob:
        check_text(spec)
        try:
            return rooted(OptimizationJob.parse(spec, "the request"), home)
        except RecursionError:
            raise SpecError("the request: the spec nests too deep") from None

    def _must_have_room(self, team: Team) -> None:
        most = self.limits.live_jobs
        if self._database.count_live(team.name) >= most:
            raise TooMany(
                f"team {team.name} has {most} jobs that have not ended, and may have no more at a "
                "time; wait for some to end, or cancel some",
                _AGAIN_S,
            )

    # -- jobs that are there

    def cancel(self, team: Team, job_id: str) -> tuple[dict[str, Any], bool]:
        """Stop a job; what became of it, and whether that is its last word.

        Raises:
            NotFound: the team has no such job.
        """
        with self._queue.between_turns():  # no driver starts meanwhile
            entry = self.entry(team, job_id)
            archive = reading.archive_of(entry)
            state = state_of(archive)["state"]
            if entry.state == "ended" or (entry.state == "started" and state in FINAL):
                return {"id": entry.id, "stopped": False, "state": state}, True
            if entry.state == "queued" or state == "interrupted":
                archive.event(
                    "state",
                    state="cancelled",
                    exit_code=Cancelled.exit_code,
                    message="cancelled",
                    verdict=None,
                )
                self._database.set_state(entry.id, "ended")
                self._in_background(entry.id, archive, _sweep)
                return {"id": entry.id, "stopped": True, "state": "cancelled"}, True
        self._in_background(entry.id, archive, lambda of: Job(of).cancel())
        return {"id": entry.id, "stopped": True, "state": "cancelling"}, False

    def resume(self, team: Team, job_id: str) -> Entry:
        """Put a job that has ended into the queue again; it goes on from its last record.

        Raises:
            NotFound: the team has no such job.
            Conflict: it has not ended, or it has an end that a resume cannot change.
            TooMany: the team asked too often, or has too many live jobs.
        """
        self._buckets.take(team.name)
        with self._turns[team.name], self._queue.between_turns():
            entry = self.entry(team, job_id)
            if entry.state != "ended":
                raise Conflict(f"job {entry.id} is {entry.state}: it goes on by itself")
            try:
                Job(reading.archive_of(entry)).must_be_resumable()
            except BadInput as error:
                raise Conflict(str(error)) from None
            self._must_have_room(team)
            self._database.set_state(entry.id, "queued")
            return self.entry(team, job_id)

    def queue(self, team: Team) -> dict[str, Any]:
        """Where the team's live jobs stand, and how much the team has had."""
        return {
            "jobs": self._queue.places(team.name),
            "device_hours_per_weight": round(self._queue.level(team.name), 4),
            "weight": team.weight,
        }

    def _in_background(
        self, job_id: str, archive: JobArchive, what: Callable[[JobArchive], object]
    ) -> None:
        """A minute may pass until a driver has ended; who asked does not wait for it."""
        if job_id in self._cancelling:
            return
        self._cancelling.add(job_id)

        def run() -> None:
            try:
                what(archive)
            except (OptikitError, OSError) as error:
                _LOG.error("cancelling job %s: %s", job_id, error, extra={"job": job_id})
            finally:
                self._cancelling.discard(job_id)

        threading.Thread(target=run, name=f"cancel-{job_id}", daemon=True).start()


@contextmanager
def _paths_of_the_spec() -> Iterator[None]:
    """A path that cannot be one is bad input; a disk that fails is not."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_PATH:
            raise
        said = f"a path that the spec names cannot be read: {error.strerror}"
        raise BadInput(said) from None


def _sweep(archive: JobArchive) -> None:
    """What a driver that died may have left running on this machine."""
    sweep(archive.groups(), patience_s=0.0)


def _digest(spec: dict[str, Any], priority: int) -> str:
    text = json.dumps([spec, priority], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
