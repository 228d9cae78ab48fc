"""Jobs that were submitted: Job follows one through its archive, JobResult is what came out."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optikit.adapters.process import end_group, members
from optikit.archive import JobArchive, default_home, jobs, open_job
from optikit.errors import (
    ArchiveError,
    BadInput,
    Cancelled,
    StageFailed,
    UnknownName,
)
from optikit.pools import POOLS
from optikit.reports.listing import listed
from optikit.reports.notebook import job_html, result_html
from optikit.reports.plots import plots_of_job
from optikit.reports.summary import FINAL, iso, state_of, summary
from optikit.reports.trials import Trials
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.listing import EVERY_JOB, Wanted
from optikit.spec.plan import Plan

__all__ = [
    "Job",
    "JobResult",
    "OnEvent",
    "default_pool",
    "leftovers",
    "list_jobs",
    "raise_failure",
    "start_driver",
]

OnEvent = Callable[[dict[str, Any]], None]
_POLL_S = 0.25
_START_GRACE_S = 30.0


@dataclass(frozen=True)
class JobResult:
    """How a job ended. A missed SLO or a lost quality gate is a result, not an exception."""

    job_id: str
    state: str
    """done, negative or inconclusive."""
    exit_code: int
    verdict: str | None
    message: str
    bundle: Path | None
    summary: dict[str, Any]
    """What ``optikit show --json`` prints."""

    @classmethod
    def of(cls, facts: dict[str, Any]) -> JobResult:
        """The result that a summary tells of."""
        return cls(
            job_id=facts["id"],
            state=facts["state"],
            exit_code=facts["exit_code"],
            verdict=facts["verdict"],
            message=facts["message"],
            bundle=Path(facts["bundle"]) if facts["bundle"] else None,
            summary=facts,
        )

    def _repr_html_(self) -> str:
        return result_html(self.summary)

    @property
    def corners(self) -> dict[str, dict[str, Any]]:
        """baseline, quantized, tuned, both: rate_rps, rate_per_gpu, slo_met, gain, reason."""
        found: dict[str, dict[str, Any]] = self.summary["corners"]
        return found


class Job:
    """A submitted job, followed through its archive."""

    def __init__(self, archive: JobArchive) -> None:
        self.archive = archive

    @classmethod
    def open(cls, job_id: str, home: Path | None = None) -> Job:
        """A job by id, a unique beginning of it, or ``last``.

        Raises:
            UnknownName: with the nearest ids.
        """
        return cls(open_job(home or default_home(), job_id))

    @property
    def id(self) -> str:
        """The job's id."""
        return self.archive.job_id

    def status(self) -> dict[str, Any]:
        """State, exit code, message and stages."""
        facts = self.summary()
        return {
            key: facts[key]
            for key in (
                *("id", "created", "simulated", "state", "exit_code", "verdict", "message"),
                "stages",
            )
        }

    def brief(self) -> dict[str, Any]:
        """What a program keeps of a job that it leaves alone."""
        return {
            "id": self.id,
            "archive": str(self.archive.root),
            "simulated": self.plan().simulated,
        }

    def _repr_html_(self) -> str:
        return job_html(self.status())

    def plan(self) -> Plan:
        """The plan that the job runs by."""
        return self.archive.plan()

    def summary(self) -> dict[str, Any]:
        """What ``optikit show --json`` prints."""
        return summary(self.archive)

    def events(self) -> Iterator[dict[str, Any]]:
        """The journal so far."""
        return self.archive.events()

    def trials(self) -> Trials:
        """Every trial that ended so far, oldest first; ``.frame()`` is a data frame of them."""
        return Trials(self.archive.trials())

    def must_be_resumable(self) -> None:
        """Raise where there is nothing to go on with.

        Raises:
            BadInput: the job has an end that a resume cannot change, or it still runs.
        """
        if self.archive.pulled:
            raise BadInput(f"job {self.id} ran elsewhere, where alone it can be resumed")
        state = state_of(self.archive)["state"]
        if state in ("running", "done", "negative", "inconclusive"):
            raise BadInput(f"job {self.id} is {state}: there is nothing to resume")

    def logs(self, trial: str | None = None) -> str:
        """The driver's log, or the engine's log of a trial.

        Raises:
            UnknownName: no such trial.
        """
        if trial is None:
            log = self.archive.driver_log
            return log.read_text(errors="replace") if log.exists() else ""
        folder = self.archive.root / "trials"
        known = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        if trial not in known:
            raise UnknownName(f"job {self.id} has no trial {trial!r}. Known: {', '.join(known)}")
        log = folder / trial / "engine.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def log_lines(self) -> Iterator[str]:
        """The driver's log as it grows, until the job has ended."""
        seen = 0
        while True:
            ended = state_of(self.archive)["state"] not in ("starting", "running")
            text = self.logs()
            if text[seen:]:
                yield text[seen:]
            seen = len(text)
            if ended:
                return
            time.sleep(_POLL_S)

    def plots(self) -> list[Path]:
        """Draw the tuning stage, and every trial's rate search beside its raw files, as SVG.

        None are drawn without matplotlib.

        Raises:
            ArchiveError: a raw file is damaged.
        """
        return plots_of_job(self.archive)

    def result(self, timeout_s: float | None = None, on_event: OnEvent | None = None) -> JobResult:
        """Wait for the end.

        Args:
            on_event: called with each event of the journal from its beginning on.

        Raises:
            BadInput: the job was rejected by a stage.
            StageFailed: a stage gave up, or the driver is gone.
            Cancelled: the job was cancelled.
            TimeoutError: it still runs.
        """
        status = self._wait(timeout_s, on_event)
        raise_failure(
            self.id,
            status["state"],
            status["message"] or f"see {self.archive.driver_log}",
            f"see {self.archive.driver_log}",
        )
        return JobResult.of(self.summary())

    def _wait(self, timeout_s: float | None, on_event: OnEvent | None) -> dict[str, Any]:
        began, offset = time.monotonic(), 0
        while True:
            status = state_of(self.archive)
            for event, end in self.archive.events_and_ends(offset):
                offset = end
                if on_event:
                    on_event(event)
            waited = time.monotonic() - began
            if status["state"] in FINAL or status["state"] == "interrupted":
                return status
            late = status["state"] == "starting" and waited > _START_GRACE_S
            if late and not self.archive.driver_alive():
                return {**status, "state": "interrupted"}
            if timeout_s is not None and waited > timeout_s:
                raise TimeoutError(f"job {self.id} still runs after {timeout_s:g} s")
            time.sleep(_POLL_S)

    def cancel(self, patience_s: float = 60.0) -> bool:
        """Stop the job, its engines and its workers; False if it had ended already.

        A driver that is still starting finds the wish in the journal and ends by itself.

        Raises:
            ArchiveError, DiskFull: the wish cannot be written now; nothing was stopped.
        """
        if state_of(self.archive)["state"] not in ("running", "starting"):
            return False
        self.archive.event_now("cancel_asked")
        told, until = None, time.monotonic() + patience_s
        while (status := state_of(self.archive))["state"] in ("running", "starting"):
            if status["state"] == "running" and status["pid"] != told:
                told = status["pid"]
                _signal(told, signal.SIGTERM)
            if time.monotonic() < until:
                time.sleep(_POLL_S)
                continue
            if told is not None:
                _signal(told, signal.SIGKILL)
            for group in self.archive.groups():
                end_group(group, grace_s=1.0)
            self.archive.event(
                "state",
                state="cancelled",
                exit_code=Cancelled.exit_code,
                message=f"cancelled; the driver did not stop within {patience_s:g} s",
            )
        return True

    def resume(self, pool: str | None = None) -> Job:
        """Go on from the last record in a new driver.

        Args:
            pool: as for ``Submitter``.

        Raises:
            BadInput: the job has an end that a resume cannot change, or it still runs, also where
                somebody else resumed it at the same moment.
            StageFailed: the new driver did not begin.
        """
        pool = pool or default_pool(self.archive.plan())
        POOLS.check(pool)
        before = len(self.archive.of_kind("state"))  # counted first: what is said later is seen
        self.must_be_resumable()
        folder = Path(self.archive.environment().get("folder", "."))
        if not folder.is_dir():
            raise BadInput(
                f"job {self.id} was submitted from {folder}, which is gone; its relative paths "
                "lead nowhere. Make the folder again, or submit the job anew."
            )
        driver = _launched(self.archive, pool, folder, before)
        until = time.monotonic() + _START_GRACE_S
        while not (mine := self._begun_by(driver.pid, before)) and time.monotonic() < until:
            if driver.poll() is not None:
                mine = self._begun_by(driver.pid, before)  # it may have ended between the looks
                break
            time.sleep(_POLL_S)
        if mine:
            return self
        if len(self.archive.of_kind("state")) > before and driver.poll() is not None:
            raise BadInput(
                f"job {self.id} was resumed by somebody else at the same moment; follow it with "
                f"`optikit status {self.id}`"
            )
        raise StageFailed(f"the new driver said nothing; see {self.archive.driver_log}")

    def _begun_by(self, pid: int, before: int) -> bool:
        """Whether the driver of that process id took the job; ``before``: states until then."""
        said = self.archive.of_kind("state")[before:]
        return any(event.get("pid") == pid for event in said)


def raise_failure(job_id: str, state: str, message: str, log: str) -> None:
    """Raise where a job ended without a result.

    Args:
        log: where its driver's log is, for a driver that is gone.

    Raises:
        BadInput: it was rejected.
        StageFailed: it failed, or its driver is gone.
        Cancelled: it was cancelled.
    """
    if state == "rejected":
        raise BadInput(message)
    if state == "failed":
        raise StageFailed(message)
    if state == "cancelled":
        raise Cancelled(f"job {job_id} was cancelled")
    if state == "interrupted":
        raise StageFailed(
            f"the driver of job {job_id} is gone and did not say why ({log}); "
            f"`optikit resume {job_id}` goes on from its records"
        )


def default_pool(plan: Plan) -> str:
    """Where stages run when nobody says: a simulated job has nothing that a worker could lose."""
    return "ray" if plan.holds_devices else "inline"


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def start_driver(archive: JobArchive, pool: str, folder: Path) -> None:
    """Start a job's driver: a process of its own that outlives this one.

    Raises:
        ArchiveError: its log cannot be opened.
    """
    _launched(archive, pool, folder, len(archive.of_kind("state")))


def _launched(archive: JobArchive, pool: str, folder: Path, after: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "optikit.runner", str(archive.home), archive.job_id]
    try:
        log = archive.driver_log.open("ab")
    except OSError as error:
        raise ArchiveError(f"cannot open {archive.driver_log}: {error.strerror}") from error
    with log:
        driver = subprocess.Popen(  # noqa: S603
            [*command, "--pool", pool, "--after", str(after)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    # it outlives us where it must; where it ends first, nobody is left a zombie
    threading.Thread(target=driver.wait, daemon=True).start()
    return driver


def list_jobs(home: Path | None = None, wanted: Wanted = EVERY_JOB) -> list[dict[str, Any]]:
    """Id, state, creation time, flow, model, whether it is simulated, team; oldest first."""
    rows: list[dict[str, Any]] = []
    for job in reversed(jobs(home or default_home())):
        if wanted.since is not None and iso(job.created()) < wanted.since:
            break  # and those that come now are older
        row = listed(job)
        if wanted.fits(row):
            rows.append(row)
        if len(rows) == wanted.limit:
            break
    return rows[::-1]


def leftovers(home: Path | None = None) -> list[tuple[str, ProcessGroup]]:
    """Process groups that jobs without a driver left alive, with the job's id."""
    return [
        (job.job_id, group)
        for job in jobs(home or default_home())
        if not (job.pulled or job.driver_alive())
        for group in job.groups()
        if members(group)
    ]
