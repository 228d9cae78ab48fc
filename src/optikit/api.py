"""What a program uses: Submitter takes a job spec, Job follows it, JobResult is what came out."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import yaml

from optikit.adapters.hardware import cpu_dtype, describe_environment
from optikit.adapters.process import end_group, members
from optikit.archive import JobArchive, jobs, open_job
from optikit.core.plan import make_plan
from optikit.engines import ENGINES
from optikit.errors import BadInput, Cancelled, OptikitError, SpecError, StageFailed, UnknownName
from optikit.evaluators import EVALUATORS
from optikit.flows import FLOWS
from optikit.pools import POOLS
from optikit.recipes import RECIPES
from optikit.reports.summary import FINAL, iso, state_of, summary
from optikit.runner import EVALUATOR
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.record import Trial
from optikit.stores.base import path_of
from optikit.stores.file import FileModelStore
from optikit.stores.shapes import shape_of_folder, shipped_shape
from optikit.tuners import TUNERS

__all__ = ["Job", "JobResult", "Submitter", "default_home", "leftovers", "list_jobs", "load_job"]

OnEvent = Callable[[dict[str, Any]], None]
_SPEC_BYTES = 1_000_000
_POLL_S = 0.25
_START_GRACE_S = 30.0


def default_home() -> Path:
    """``$OPTIKIT_HOME``, else ``.optikit`` in the working directory."""
    return Path(os.environ.get("OPTIKIT_HOME") or ".optikit").absolute()


def load_job(path: Path) -> OptimizationJob:
    """A job spec from a YAML or JSON file.

    Raises:
        SpecError: no such file, not YAML, or keys and values that are wrong.
    """
    try:
        if path.stat().st_size > _SPEC_BYTES:
            raise SpecError(f"{path} is larger than {_SPEC_BYTES} bytes: not a job spec")
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpecError(f"cannot read the job spec {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{path}: a job spec is a mapping of keys, found {type(data).__name__}")
    return OptimizationJob.parse(data, str(path))


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
        facts = summary(self.archive)
        return {
            key: facts[key]
            for key in ("id", "created", "state", "exit_code", "verdict", "message", "stages")
        }

    def trials(self) -> list[Trial]:
        """Every trial that ended so far, oldest first."""
        return self.archive.trials()

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
        message = status["message"] or f"see {self.archive.driver_log}"
        if status["state"] == "rejected":
            raise BadInput(message)
        if status["state"] == "failed":
            raise StageFailed(message)
        if status["state"] == "cancelled":
            raise Cancelled(f"job {self.id} was cancelled")
        if status["state"] == "interrupted":
            raise StageFailed(
                f"the driver of job {self.id} is gone and did not say why (see "
                f"{self.archive.driver_log}); `optikit resume {self.id}` goes on from its records"
            )
        facts = summary(self.archive)
        return JobResult(
            job_id=self.id,
            state=facts["state"],
            exit_code=facts["exit_code"],
            verdict=facts["verdict"],
            message=facts["message"],
            bundle=Path(facts["bundle"]) if facts["bundle"] else None,
            summary=facts,
        )

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
        """
        if state_of(self.archive)["state"] not in ("running", "starting"):
            return False
        self.archive.event("cancel_asked")
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

    def resume(self, pool: str = "ray") -> Job:
        """Go on from the last record in a new driver.

        Raises:
            BadInput: the job has an end that a resume cannot change, or it still runs.
        """
        state = state_of(self.archive)["state"]
        POOLS.check(pool)
        if state in ("running", "done", "negative", "inconclusive"):
            raise BadInput(f"job {self.id} is {state}: there is nothing to resume")
        before = len(self.archive.of_kind("state"))
        folder = Path(self.archive.environment().get("folder", "."))
        if not folder.is_dir():
            raise BadInput(
                f"job {self.id} was submitted from {folder}, which is gone; its relative paths "
                "lead nowhere. Make the folder again, or submit the job anew."
            )
        _start_driver(self.archive, pool, folder)
        until = time.monotonic() + _START_GRACE_S
        while len(self.archive.of_kind("state")) == before and time.monotonic() < until:
            time.sleep(_POLL_S)
        if len(self.archive.of_kind("state")) == before:
            raise StageFailed(f"the new driver said nothing; see {self.archive.driver_log}")
        return self


class Submitter:
    """Takes jobs.

    Args:
        home: where jobs, models and bundles live; default: ``default_home()``.
        pool: where stages run: ``ray``, ``process`` (no Ray), ``inline`` (debugging).
    """

    def __init__(self, home: Path | str | None = None, pool: str = "ray") -> None:
        POOLS.check(pool)
        self.home = Path(home).absolute() if home else default_home()
        self.pool = pool

    def plan(self, job: OptimizationJob) -> Plan:
        """Resolve a job without touching a network or a GPU.

        Raises:
            BadInput: what cannot run, and why.
        """
        flow = FLOWS.load(job.flow)
        TUNERS.check(job.tuner.name)
        RECIPES.check(job.flow_params.recipe)
        recipe = RECIPES.load(job.flow_params.recipe).facts if flow.compresses else None
        engine = ENGINES.load(job.engine.name)
        plan = make_plan(job, flow, self._shape(job), engine.facts, recipe, cpu_dtype())
        engine.check(plan.serving, plan.sku.kind)
        return plan

    def _shape(self, job: OptimizationJob) -> ModelShape:
        if job.model.uri is not None:
            return shape_of_folder(path_of(job.model.uri))
        try:
            return shape_of_folder(
                Path(FileModelStore(self.home).find(job.model.name, job.model.version).path)
            )
        except UnknownName:
            shape = shipped_shape(job.model.name)
            if shape is None:
                raise
            return shape

    @overload
    def submit(
        self, job: OptimizationJob, wait: Literal[True] = True, on_event: OnEvent | None = None
    ) -> JobResult: ...

    @overload
    def submit(
        self, job: OptimizationJob, wait: Literal[False], on_event: OnEvent | None = None
    ) -> Job: ...

    def submit(
        self, job: OptimizationJob, wait: bool = True, on_event: OnEvent | None = None
    ) -> JobResult | Job:
        """Run a job in a driver process of its own.

        Args:
            wait: False: return the running Job at once.
            on_event: called with each event of the journal while waiting.

        Raises:
            BadInput: the spec, the model or the machine cannot serve the job.
            StageFailed: a stage gave up.
            Cancelled: the job was cancelled, or Ctrl-C was pressed here.
        """
        started = self.start(job)
        if not wait:
            return started
        try:
            return started.result(on_event=on_event)
        except KeyboardInterrupt:
            started.cancel()
            raise Cancelled(f"job {started.id} was cancelled") from None

    def start(self, job: OptimizationJob) -> Job:
        """Check, open the archive, start the driver; returns at once."""
        plan = self.plan(job)
        if job.model.uri is None:
            FileModelStore(self.home).find(job.model.name, job.model.version)
        if "evaluate" in plan.flow.stages:
            EVALUATORS.load(EVALUATOR).check(job.quality.tasks)
        self.home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.home).free
        if free < plan.disk_bytes:
            raise BadInput(
                f"the job needs about {plan.disk_bytes / 1e9:.1f} GB of disk under {self.home}, "
                f"{free / 1e9:.1f} GB are free. Free some, or set OPTIKIT_HOME to a larger disk."
            )
        engine = ENGINES.load(job.engine.name)
        environment = {
            **describe_environment(),
            "engine": {
                "name": job.engine.name,
                "version": engine.version(),
                "packages": engine.packages(),
            },
            "folder": str(Path.cwd()),
        }
        archive = JobArchive.create(self.home, plan, environment)
        _start_driver(archive, self.pool, Path.cwd())
        return Job(archive)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _start_driver(archive: JobArchive, pool: str, folder: Path) -> None:
    command = [sys.executable, "-m", "optikit.runner", str(archive.home), archive.job_id]
    with archive.driver_log.open("ab") as log:
        driver = subprocess.Popen(  # noqa: S603
            [*command, "--pool", pool],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    # it outlives us where it must; where it ends first, nobody is left a zombie
    threading.Thread(target=driver.wait, daemon=True).start()


def list_jobs(home: Path | None = None) -> list[dict[str, Any]]:
    """Id, state, creation time, flow and model of every job, oldest first."""
    keys = ("id", "state", "created", "flow", "model", "verdict")
    rows: list[dict[str, Any]] = []
    for job in jobs(home or default_home()):
        try:
            facts = summary(job)
        except OptikitError as error:  # one damaged job hides no other
            facts = {**dict.fromkeys(keys), "id": job.job_id, "created": iso(job.created())}
            facts |= {"state": "damaged", "verdict": str(error)}
        rows.append({key: facts[key] for key in keys})
    return rows


def leftovers(home: Path | None = None) -> list[tuple[str, ProcessGroup]]:
    """Process groups that jobs without a driver left alive, with the job's id."""
    return [
        (job.job_id, group)
        for job in jobs(home or default_home())
        if not job.driver_alive()
        for group in job.groups()
        if members(group)
    ]
