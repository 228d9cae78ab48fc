"""Starts the drivers of queued jobs and admits their stages, each when its turn comes.

All that it decides is in the jobs' journals (see admission.py) and in the book: one that is killed
and started again finds what waits, what runs and what each team held, and goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from optikit.admission import Ask, asks_of, grant, refuse
from optikit.archive import JobArchive
from optikit.core.fairshare import FairShare, Start
from optikit.errors import BadInput, OptikitError
from optikit.jobs import default_pool, start_driver
from optikit.reports.summary import FINAL
from optikit.service.base import Book, Decision, QueueFacts, Watcher
from optikit.spec.queue import Need, Node, QueuedJob, Team, Ticket

__all__ = ["Dispatcher"]

_LOG = logging.getLogger(__name__)
_TICK_S = 0.5
_PAUSE_S = 5.0
_GRACE_S = 60.0
"""A driver that said nothing for so long after its start, and does not live, has died."""
_BACKOFF_S = 10.0
"""Before a dead driver is started again; doubled each time."""
_NODES_EVERY_S = 30.0
StartDriver = Callable[[JobArchive, str, Path], None]


@dataclass
class _Followed:
    """One live job."""

    row: QueuedJob
    archive: JobArchive
    offset: int = 0
    asks: dict[str, Ask] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    """Keys that the policy knows."""
    state: str = "starting"
    started_s: float = 0.0
    deaths: int = 0
    again_s: float | None = None
    """When its dead driver is started anew."""
    trouble: str = ""
    """With its archive; said once."""
    last_s: float = 0.0
    """When it last wrote something."""
    told: int = 0
    """Offset up to which the watcher has its journal."""

    @property
    def holds(self) -> bool:
        """It has devices now."""
        return any(ask.open and ask.granted_s is not None for ask in self.asks.values())


class _Nobody:
    """Watches nothing."""

    def heard(self, event: Mapping[str, Any]) -> None:
        """See the protocol."""

    def decided(self, decision: Decision) -> None:
        """See the protocol."""


def _size(archive: JobArchive) -> int:
    try:
        return archive.journal.stat().st_size
    except OSError:
        return 0


def _grant(start: Start, job: _Followed, _: float) -> None:
    grant(job.archive, start.key, start.node)


class Dispatcher:
    """See above. One a home; ``run`` in a thread of its own, the rest from any thread.

    Args:
        book: of the jobs and teams.
        nodes: of the cluster, asked again and again: nodes come and go.
        pool: where stages run; None: as for ``optikit submit``.
        ahead: jobs of a team that may be at work without devices (they fetch, publish or wait), so
            that the queue always knows a team's next stage, and a thousand jobs are no thousand
            processes.
        lives: starts of a job's driver before the job is given up.
        watcher: hears what happens from now on; what journals say of earlier is not told again.
    """

    def __init__(
        self,
        book: Book,
        nodes: Callable[[], Iterable[Node]],
        pool: str | None = None,
        ahead: int = 2,
        lives: int = 4,
        clock: Callable[[], float] = time.time,
        start: StartDriver = start_driver,
        watcher: Watcher | None = None,
    ) -> None:
        self._book, self._nodes, self._pool = book, nodes, pool
        self._ahead, self._lives, self._clock, self._launch = ahead, lives, clock, start
        self._teams: dict[str, Team] = {}
        self._watcher = watcher or _Nobody()
        self._there = list(nodes())
        self._fair = FairShare(self._there, ())
        self._looked_s = self._turned_s = clock()
        self._told: dict[str, int] | None = None
        """Of jobs that ended, and may be resumed; None: no turn has been."""
        self._jobs: dict[str, _Followed] = {}
        self._lock = threading.RLock()

    def run(self, stop: threading.Event) -> None:
        """Turn after turn until ``stop`` is set; drivers go on without us."""
        while not stop.is_set():
            try:
                self.once()
            except (OptikitError, OSError) as error:  # a database or disk that may come back
                _LOG.error("the queue stands still: %s", error)
                stop.wait(_PAUSE_S)
            stop.wait(_TICK_S)

    def once(self) -> None:
        """One turn: hear the jobs, start drivers, admit stages."""
        with self._lock:
            now = self._clock()
            self._look(now)
            live, told = {row.id: row for row in self._book.live()}, self._told or {}
            for gone in [job for job in self._jobs if job not in live]:
                job = self._jobs.pop(gone)
                self._alone(job, lambda of, _: self._news(of), now)  # who took it out said why
                self._forget(job, now)
                told[job.row.id] = job.offset
            for row in live.values():
                known = self._jobs.get(row.id)
                if known is None:
                    archive = JobArchive(Path(row.home), row.id)
                    known = _Followed(row, archive, started_s=now)
                    known.told = _size(archive) if self._told is None else told.get(row.id, 0)
                    self._jobs[row.id] = known
                known.row = row
                if row.state == "started":
                    self._alone(known, self._hear, now)
            self._start_drivers(now)
            self._admit(now)
            self._told, self._turned_s = told, self._clock()

    def _admit(self, now: float) -> None:
        """What may start now; a grant that could not be written is no grant."""
        unheard: list[tuple[_Followed, str]] = []
        while (start := self._fair.next(now)) is not None:
            job = self._jobs[start.key.split("/", 1)[0]]
            if self._alone(job, partial(_grant, start), now):
                self._watcher.decided("granted")
            else:
                unheard.append((job, start.key))
        for job, key in unheard:
            self._fair.end(key, now)
            self._fair.submit(self._need(job, job.asks[key]))

    def _alone(self, job: _Followed, act: Callable[[_Followed, float], object], now: float) -> bool:
        """Whether it went well; one job's archive that cannot be used stops no other job."""
        try:
            act(job, now)
        except (OptikitError, OSError) as error:
            if job.trouble != str(error):
                job.trouble = str(error)
                _LOG.error("job %s: %s", job.row.id, error, extra={"job": job.row.id})
            return False
        job.trouble = ""
        return True

    # -- hearing

    def _look(self, now: float) -> None:
        """Teams may change at any time, nodes now and then."""
        for team in self._book.teams():
            if self._teams.get(team.name) != team:
                self._teams[team.name] = team
                self._fair.set_team(team)
        if now - self._looked_s > _NODES_EVERY_S:
            self._looked_s = now
            self._there = list(self._nodes())
            self._fair.set_nodes(self._there)

    def _hear(self, job: _Followed, now: float) -> None:
        """What the job wrote since the last turn, and whether its driver still lives."""
        for ask in asks_of(self._news(job), job.asks).values():
            self._settle(job, ask, now)
        if job.state in FINAL:
            self._forget(job, now)
            self._book.set_state(job.row.id, "ended")
            job.row = job.row.model_copy(update={"state": "ended"})
        elif not job.archive.driver_alive():
            self._mourn(job, now)

    def _news(self, job: _Followed) -> list[dict[str, Any]]:
        """What the job wrote since it was last asked."""
        events: list[dict[str, Any]] = []
        for event, end in job.archive.events_and_ends(job.offset):
            job.offset = end
            events.append(event)
            job.last_s = event["t"]
            if end > job.told:
                self._watcher.heard(event)
            if event["kind"] == "state":
                job.state = event["state"]
        return events

    def _settle(self, job: _Followed, ask: Ask, now: float) -> None:
        key, need = ask.need.key, self._need(job, ask)
        if key in job.known:
            if not ask.open:
                self._give_back(key, now)
            return
        if ask.open and ask.granted_s is not None and ask.node is not None:
            self._fair.adopt(need, ask.node, ask.granted_s)
        elif ask.open:
            try:
                self._fair.submit(need)
            except BadInput as error:
                refuse(job.archive, key, str(error))
                self._watcher.decided("refused")
        elif ask.granted_s is not None and ask.left_s is not None:
            self._fair.remember(need.team, need.devices, ask.granted_s, ask.left_s)
        job.known.add(key)

    def _need(self, job: _Followed, ask: Ask) -> Need:
        """What it asks for, in the name of the team that it is known to be of."""
        return ask.need.model_copy(update={"team": job.row.team})

    def _give_back(self, key: str, now: float) -> None:
        if key in self._fair.running:
            self._fair.end(key, now)
        else:
            self._fair.cancel(key)

    def _forget(self, job: _Followed, now: float) -> None:
        for key in job.known:
            self._give_back(key, now)

    def _mourn(self, job: _Followed, now: float) -> None:
        """A driver that died gives its places back and is started again, a few times."""
        if job.state == "starting" and now - job.started_s < _GRACE_S:
            return  # it has not come so far yet
        if job.again_s is None:
            for key, ask in job.asks.items():
                if ask.open:
                    job.archive.event("stage_left", key=key)
            job.deaths += 1
            self._watcher.decided("driver_died")
            job.again_s = now + _BACKOFF_S * 2 ** (job.deaths - 1)
            job.archive.event("note", text=f"its driver died; start {job.deaths + 1} follows")
        if job.deaths >= self._lives:
            said = (
                f"the driver of job {job.row.id} died {job.deaths} times without a word; see "
                f"{job.archive.driver_log.name}, then resume it"
            )
            job.archive.event("state", state="failed", exit_code=1, message=said, verdict=None)
        elif now >= job.again_s:
            self._drive(job, now)

    # -- starting

    def _start_drivers(self, now: float) -> None:
        """Each team's next jobs, by priority and age, as far ahead as may be."""
        waiting: dict[str, list[_Followed]] = defaultdict(list)
        ahead: dict[str, int] = defaultdict(int)
        for job in self._jobs.values():
            if job.row.state == "queued" and job.archive.root.is_dir():
                waiting[job.row.team].append(job)
            elif job.row.state == "started" and not job.holds:
                ahead[job.row.team] += 1
        for team, jobs in waiting.items():
            jobs.sort(key=self._place)
            for job in jobs[: max(0, self._ahead - ahead[team])]:
                self._alone(job, self._drive, now)

    def _place(self, job: _Followed) -> tuple[float, str]:
        row = job.row
        return row.submitted_s - row.priority * self._fair.ageing_s, row.id

    def _drive(self, job: _Followed, now: float) -> None:
        row, archive = job.row, job.archive
        job.state, job.started_s, job.again_s = "starting", now, None
        ticket = Ticket(
            team=row.team,
            since_s=row.submitted_s,
            priority=row.priority,
        )
        archive.enqueue(ticket)
        archive.event("state", state="starting")  # how an earlier run ended is no news any more
        self._book.set_state(row.id, "started")
        job.row = row.model_copy(update={"state": "started"})
        self._launch(archive, self._pool or default_pool(archive.plan()), Path(row.home))
        self._watcher.decided("driver_started")

    # -- what is seen of it

    def between_turns(self) -> AbstractContextManager[Any]:
        """No turn begins while this is held; short, or the queue stands still."""
        return self._lock

    def places(self, team: str) -> list[dict[str, Any]]:
        """The team's live jobs: id, state, and of a stage that waits or runs its devices, kind,
        seconds and how many stages of that kind came before it."""
        with self._lock:
            now, waiting = self._clock(), self._fair.waiting
            asks = {k: a for job in self._jobs.values() for k, a in job.asks.items() if a.open}
            rows = []
            for job in self._jobs.values():
                if job.row.team != team or job.row.state == "ended":
                    continue
                row: dict[str, Any] = {"job": job.row.id, "state": job.row.state}
                for ask in job.asks.values():
                    if not ask.open:
                        continue
                    need = ask.need
                    stage = need.key.rsplit("/", 1)[1].rsplit("-", 1)[0]
                    row |= {"stage": stage, "devices": need.devices, "kind": need.kind}
                    if ask.granted_s is not None:
                        row |= {"node": ask.node, "holds_s": round(now - ask.granted_s, 1)}
                        continue
                    before = [
                        other
                        for key, other in asks.items()
                        if key in waiting and other.need.kind == need.kind
                    ]
                    row["waits_s"] = round(now - ask.asked_s, 1)
                    row["older"] = sum(other.need.since_s < need.since_s for other in before)
                rows.append(row)
            return rows

    def facts(self) -> QueueFacts:
        """The whole queue in numbers."""
        with self._lock:
            now = self._clock()
            jobs: dict[tuple[str, str], int] = defaultdict(int)
            waiting: dict[tuple[str, str], int] = defaultdict(int)
            held: dict[tuple[str, str], int] = defaultdict(int)
            oldest: dict[str, float] = {}
            silent = 0.0
            for job in self._jobs.values():
                if job.row.state == "ended":
                    continue
                team = job.row.team if job.row.team in self._teams else "removed"
                at_work = job.row.state == "started" and job.state == "running"
                jobs[team, job.state if job.row.state == "started" else "queued"] += 1
                for ask in (ask for ask in job.asks.values() if ask.open):
                    kind, devices = ask.need.kind, ask.need.devices
                    if ask.granted_s is not None:
                        held[team, kind] += devices
                        continue
                    waiting[team, kind] += devices
                    oldest[kind] = max(oldest.get(kind, 0.0), now - ask.asked_s)
                    at_work = False
                if at_work:
                    silent = max(silent, now - job.last_s)
            nodes: dict[str, tuple[int, int]] = {}
            for node in self._there:
                count, devices = nodes.get(node.kind, (0, 0))
                nodes[node.kind] = count + 1, devices + node.devices
            for team in self._teams:
                for state in ("queued", "starting", "running"):
                    jobs[team, state] += 0
                for kind in nodes:
                    waiting[team, kind] += 0
                    held[team, kind] += 0
            return QueueFacts(jobs, waiting, held, oldest, nodes, silent, self._turned_s)

    def level(self, team: str) -> float:
        """Device-hours per weight, past ones fading, with what runs; the lowest is first."""
        with self._lock:
            if team not in self._teams:  # it came since the last turn
                return 0.0
            return self._fair.level(team, self._clock()) / 3600.0
