"""The append-only history of jobs; the only file that knows where a job's things lie.

::

    HOME/                        $OPTIKIT_HOME, default .optikit
      jobs/ID/
        job.json plan.json       what was asked, what was resolved
        environment.json         versions, hardware, folder of the submission
        pulled.json              where it was pulled from, where another machine ran the job
        queue.json               team and place, where a service's queue admits its stages
        journal.jsonl            one line an event: states, stages, records, trials, probes, groups
        driver.log               what the driver and its workers print
        trials/TRIAL/            serving.json, probe-NN.jsonl (a line a request), engine.log,
                                 engine-metrics.jsonl.gz (core/scrapes.py)
        candidates/ quality/ study/
      measurements/ID/           a server measured without a job: see measuring/archive.py
      models/ artifacts/ bundles/  registry, content by digest, what ships

A line that a crash tore, or that was altered since, is skipped and counted, never taken for an
event; `optikit archive check` derives the rest again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from optikit.admission import Ask, asks_of, waited_s
from optikit.core.budget import steady, used
from optikit.core.schemas import newer_than_this
from optikit.errors import (
    ArchiveError,
    BadInput,
    BudgetExceeded,
    OptikitError,
    SpecError,
    UnknownName,
    nearest,
)
from optikit.journal import Journaled, now, patiently, write_json
from optikit.spec.base import Spec
from optikit.spec.candidate import Candidate
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.plan import Plan
from optikit.spec.queue import Ticket
from optikit.spec.record import StageRecord, Trial
from optikit.spec.versions import SCHEMAS

__all__ = [
    "JobArchive",
    "checked_id",
    "default_home",
    "digest_of",
    "is_id",
    "jobs",
    "new_id",
    "open_job",
]

T = TypeVar("T")
_RECORD: TypeAdapter[StageRecord] = TypeAdapter(StageRecord)
_EARLIER = 50
"""Jobs that are looked at for what they saw; older ones are seldom of the same model."""
_ID = re.compile(r"^[a-z0-9][a-z0-9-]{3,80}$")


def default_home() -> Path:
    """``$OPTIKIT_HOME``, else ``.optikit`` in the working directory."""
    return Path(os.environ.get("OPTIKIT_HOME") or ".optikit").absolute()


def new_id() -> str:
    """An id that no other job has; ids sort by the time they were made."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"j{stamp}-{secrets.token_hex(3)}"


def is_id(word: str) -> bool:
    """Whether a job may have this id; nothing else may become a part of a path."""
    return _ID.fullmatch(word) is not None


def checked_id(job_id: str) -> str:
    """The id, which names folders, files and Ray jobs.

    Raises:
        BadInput: it is none.
    """
    if not is_id(job_id):
        raise BadInput(
            f"{job_id!r} is no job id: 4 to 81 small letters, digits and hyphens, a letter or "
            "digit first"
        )
    return job_id


@dataclass(frozen=True)
class JobArchive(Journaled):
    """One job's folder. Pickles as two paths, so workers append to the same journal."""

    home: Path
    job_id: str

    @classmethod
    def create(
        cls, home: Path, plan: Plan, environment: dict[str, Any], job_id: str | None = None
    ) -> JobArchive:
        """Open a new job: spec, plan and environment are on disk before this returns.

        Args:
            job_id: None: a new one. What a crash left of a job of this id is written again.

        Raises:
            BadInput: no id, or a job of this id is there.
            ArchiveError, DiskFull: the disk does not take them; nothing of the job is left.
        """
        archive = cls(home.resolve(), new_id() if job_id is None else checked_id(job_id))
        if archive.whole:
            raise BadInput(
                f"job {archive.job_id} is there already, under {archive.home}; follow it with "
                f"`optikit status --follow {archive.job_id}`, or choose another id"
            )
        try:
            archive.root.mkdir(parents=True, exist_ok=job_id is not None)
            write_json(archive.root / "job.json", plan.job.model_dump(mode="json"))
            write_json(archive.root / "environment.json", environment)
            if not archive.journal.exists():
                facts = {"flow": plan.flow.name, "model": plan.job.model.name}
                archive.event_now("created", **facts, schemas=SCHEMAS)
            plain = plan.model_dump(mode="json")
            write_json(archive.root / "plan.json", plain)  # last: now it is one
        except OSError as error:
            shutil.rmtree(archive.root, ignore_errors=True)
            raise ArchiveError(
                f"no job can be opened under {home}: {error.strerror}. Make room, or set "
                "OPTIKIT_HOME to another disk"
            ) from error
        except OptikitError:
            shutil.rmtree(archive.root, ignore_errors=True)
            raise
        return archive

    @property
    def whole(self) -> bool:
        """Whether the job was opened to the end."""
        return (self.root / "plan.json").exists()

    @property
    def root(self) -> Path:
        """The job's folder."""
        return self.home / "jobs" / self.job_id

    @property
    def pulled(self) -> bool:
        """Whether the job ran elsewhere: its processes, bundle and models are not of here."""
        return (self.root / "pulled.json").exists()

    @property
    def driver_log(self) -> Path:
        """Output of the driver process."""
        return self.root / "driver.log"

    def enqueue(self, ticket: Ticket) -> None:
        """From here on the job's drivers ask the queue before they hold devices."""
        write_json(self.root / "queue.json", ticket.model_dump(mode="json"))

    def ticket(self) -> Ticket | None:
        """Of the queue that the job stands in; None: in none."""
        if not (self.root / "queue.json").exists():
            return None
        return Ticket.parse(self._json("queue.json"), f"{self.job_id}/queue.json")

    def asks(self) -> dict[str, Ask]:
        """What the job's drivers asked the queue for, by key."""
        return asks_of(self.of_kind("stage_asked", "stage_granted", "stage_refused", "stage_left"))

    def plan(self) -> Plan:
        """The plan that the job was submitted with."""
        try:
            return Plan.parse(self._json("plan.json"), f"{self.job_id}/plan.json")
        except SpecError as error:
            raise ArchiveError(f"{self.root / 'plan.json'} {self._why()}: {error}") from None

    def environment(self) -> dict[str, Any]:
        """Versions and hardware at submission."""
        found = self._json("environment.json")
        return found if isinstance(found, dict) else {}

    def commit(self, record: StageRecord) -> None:
        """Append a stage's record: from here on a rerun skips the stage."""
        self.event("record", record=record.model_dump(mode="json"))

    def records(self) -> dict[str, StageRecord]:
        """The last record of each stage, by stage."""
        found: dict[str, StageRecord] = {}
        for event in self.of_kind("record"):
            record = self._read(event, "record", _RECORD.validate_python)
            found[record.stage] = record
        return found

    def trials(self) -> list[Trial]:
        """Every trial that ended, oldest first; the last word on each id counts."""
        latest: dict[str, Trial] = {}
        for event in self.of_kind("trial"):
            trial = self._read(event, "trial", Trial.parse)
            latest[trial.id] = trial
        return list(latest.values())

    def earlier(self) -> list[tuple[Plan, list[Trial]]]:
        """Plans and trials of other jobs that measured, newest first, at most 50 of them.

        A job whose archive cannot be read (a newer version's, or damaged) is left out.
        """
        found: list[tuple[Plan, list[Trial]]] = []
        for other in reversed(jobs(self.home)):
            if other.job_id == self.job_id or len(found) >= _EARLIER:
                continue
            try:
                plan, trials = other.plan(), other.trials()
            except (OptikitError, ValueError):
                continue
            if trials:
                found.append((plan, trials))
        return found

    def candidates(self, inputs_digest: str) -> list[Candidate]:
        """Candidates that were made from these inputs, oldest first; the last word on each id."""
        found = [
            self._read(event, "candidate", Candidate.parse)
            for event in self.of_kind("candidate")
            if event.get("inputs_digest") == inputs_digest
        ]
        return list({candidate.id: candidate for candidate in found}.values())

    def groups(self) -> list[ProcessGroup]:
        """Every process group that the job started."""
        found = self.of_kind("process_group")
        return [self._read(event, "group", ProcessGroup.parse) for event in found]

    def remaining_s(self) -> float:
        """Seconds of the wall-time budget that are left, over all runs of the job.

        Raises:
            BudgetExceeded: none are left, or the GPU-hours are used up.
        """
        plan = self.plan()
        events = [*self.events(), {"kind": "now", **now()}]
        at_s = steady(events)
        try:
            spent_s, gpu_s = used(events, at_s)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged("occupied", error) from None
        timed = [{**event, "t": at} for event, at in zip(events, at_s, strict=True)]
        spent_s -= min(spent_s, waited_s(asks_of(timed).values(), at_s[-1]))
        budget = plan.job.budget
        if spent_s >= budget.wall_time_s:
            raise BudgetExceeded(
                f"budget.wall_time_s: asked at most {budget.wall_time_s:g} s, {spent_s:.0f} s are "
                f"spent. Finished trials are in the archive; raise it in the spec and submit again."
            )
        if gpu_s / 3600 >= plan.gpu_hours_bound:
            raise BudgetExceeded(
                f"budget.gpu_hours: asked at most {plan.gpu_hours_bound:g}, {gpu_s / 3600:.2f} are "
                f"spent. Finished trials are in the archive; raise it in the spec and submit again."
            )
        return budget.wall_time_s - spent_s

    def lock_driver(self, patience_s: float = 2.0, after: int | None = None) -> int:
        """Become the job's only driver; the lock ends with the process.

        Args:
            patience_s: others hold the lock for an instant when they ask whether a driver lives.
            after: words on the job's state when this driver was asked for; None: not looked at.

        Raises:
            ArchiveError: another driver of this job is alive, or was since this one was asked for;
                or the archive stays read-only.
            DiskFull: it stays full.
        """
        path, flags = self.root / "driver.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fd = patiently(lambda: os.open(path, flags, 0o644), f"take {path}")
        until = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(0.05)
                    continue
            else:
                if after is None or len(self.of_kind("state")) == after:
                    return fd
            os.close(fd)
            raise ArchiveError(
                f"job {self.job_id} has another driver, or had one since; follow it with "
                f"`optikit status {self.job_id}`, or cancel it first"
            )

    def cancel_asked(self) -> bool:
        """Whether somebody asked to cancel since the last word on the job's state."""
        said = self.of_kind("state", "cancel_asked")
        return bool(said) and said[-1]["kind"] == "cancel_asked"

    def driver_alive(self) -> bool:
        """Whether a driver holds the job; asking takes nothing from it, and writes nothing."""
        try:
            fd = os.open(self.root / "driver.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _read(self, event: dict[str, Any], key: str, parse: Callable[[Any], T]) -> T:
        """What an event holds.

        Raises:
            ArchiveError: it is not there, or not what it should be.
        """
        try:
            return parse(event[key])
        except (KeyError, ValueError, SpecError) as error:
            raise self._damaged(event["kind"], error) from None

    def _damaged(self, kind: str, error: Exception) -> ArchiveError:
        told = " ".join(str(error).split())[:300]
        return ArchiveError(
            f"{self.journal}: an event {kind!r} {self._why()}: {told}. `optikit archive check "
            f"{self.job_id}` says what else is"
        )

    def _why(self) -> str:
        """Why something cannot be read, as far as the journal's versions tell."""
        said = (newer_than_this(e.get("schemas")) for e in self.of_kind("created", "state"))
        newer = next((why for why in said if why), None)
        if newer is None:
            return "is damaged, or of another version of OptiKIT"
        return f"cannot be read: {newer}; use that version"

    def _json(self, name: str) -> object:
        try:
            return json.loads((self.root / name).read_text())
        except FileNotFoundError:
            raise ArchiveError(f"{self.root / name} is missing: the job is not whole") from None
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"{self.root / name} is damaged: {error}") from None
        except OSError as error:
            raise ArchiveError(f"cannot read {self.root / name}: {error.strerror}") from None


def jobs(home: Path) -> list[JobArchive]:
    """All jobs under a home folder, oldest first."""
    root = home.resolve() / "jobs"
    found = [
        JobArchive(home.resolve(), path.name)
        for path in (root.iterdir() if root.is_dir() else ())
        if JobArchive(home.resolve(), path.name).whole
    ]
    return sorted(found, key=lambda job: (job.created(), job.job_id))


def open_job(home: Path, job_id: str) -> JobArchive:
    """The job of that id, or of a unique beginning of it, or ``last``.

    Raises:
        UnknownName: with the nearest ids.
    """
    known = [job.job_id for job in jobs(home)]
    if job_id == "last" and known:
        return JobArchive(home.resolve(), known[-1])
    matches = [name for name in known if _ID.match(job_id) and name.startswith(job_id)]
    if job_id in known or len(matches) == 1:
        return JobArchive(home.resolve(), job_id if job_id in known else matches[0])
    raise UnknownName(f"no job {job_id!r} under {home}; {nearest(job_id, known)}")


def digest_of(*parts: Spec | str | None) -> str:
    """SHA-256 over specs and texts, for 'same inputs, same record'."""
    whole = hashlib.sha256()
    for part in parts:
        text = part.model_dump_json() if isinstance(part, Spec) else repr(part)
        whole.update(text.encode() + b"\0")
    return f"sha256:{whole.hexdigest()}"
