"""RemoteJob follows a job on a cluster; its verbs are those of ``Job``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optikit.adapters.ray_jobs import RayJob, RayJobs
from optikit.archive import checked_id, new_id
from optikit.core.eventlines import LogReader
from optikit.errors import BadInput, ClusterError, UnknownName, nearest
from optikit.jobs import JobResult, OnEvent, raise_failure
from optikit.remote.send import FLOW, JOB, MODEL, SIMULATED, STOP_WAIT_S, send
from optikit.remote.state import Event, plan_in, state_of_remote, state_without_log
from optikit.reports.notebook import job_html
from optikit.reports.summary import iso, stage_rows
from optikit.reports.trials import Trials
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.record import Trial

__all__ = ["RemoteJob", "list_remote_jobs"]

_POLL_S = 1.0
_RETRY_S = 3.0
_LOST_S = 300.0
"""How long a follower tries to reach a cluster again."""


def list_remote_jobs(address: str) -> list[dict[str, Any]]:
    """As ``list_jobs``, of the jobs that a cluster was sent; ``verdict`` stays None.

    Raises:
        BadInput, ClusterError: as RayJobs.
    """
    latest = {job.metadata[JOB]: job for job in RayJobs(address).all() if JOB in job.metadata}
    return [
        {
            "id": job_id,
            "state": state_without_log(job),
            "created": iso(job.started_s),
            "flow": job.metadata.get(FLOW),
            "model": job.metadata.get(MODEL),
            "verdict": None,
            "simulated": _simulated(job),
        }
        for job_id, job in latest.items()
    ]


def _drivers(cluster: RayJobs) -> dict[str, str]:
    """The last driver's Ray job of each job, by the job's id."""
    return {job.metadata[JOB]: job.id for job in cluster.all() if JOB in job.metadata}


def _simulated(job: RayJob) -> bool:
    return job.metadata.get(SIMULATED) == "true"


class RemoteJob:
    """A job on a cluster; ``name`` is its last driver's Ray job."""

    def __init__(self, cluster: RayJobs, job_id: str, name: str) -> None:
        self._cluster = cluster
        self._id = job_id
        self.name = name

    @classmethod
    def submit(
        cls,
        address: str,
        spec: OptimizationJob,
        job_id: str | None = None,
        *,
        home: str | None = None,
        pool: str | None = None,
        python: str = "python",
    ) -> RemoteJob:
        """Send a job to a cluster; the same id and spec again is the same job.

        Args:
            job_id: None: a new one.
            home: folder on the cluster; None: its ``$OPTIKIT_HOME``, else ``~/.optikit``.
            pool: where stages run; None: ``ray``.
            python: the cluster's interpreter that has Ray and OptiKIT's dependencies.

        Raises:
            BadInput: the id is none, or taken by another spec, or the spec names what only this
                machine has.
            ClusterError: the cluster cannot be reached, or refused.
        """
        job_id = new_id() if job_id is None else checked_id(job_id)
        cluster = RayJobs(address)
        name = send(cluster, spec, job_id, home=home, pool=pool, python=python)
        return cls(cluster, job_id, _drivers(cluster).get(job_id, name))

    @classmethod
    def open(cls, job_id: str, address: str) -> RemoteJob:
        """A job by id, a unique beginning of it, or ``last``.

        Raises:
            UnknownName: with the nearest ids.
            ClusterError: the cluster cannot be reached, or refused.
        """
        cluster = RayJobs(address)
        names = _drivers(cluster)
        ids = list(names)
        matches = [known for known in ids if known.startswith(job_id)]
        if job_id == "last" and ids:
            job_id = ids[-1]
        elif job_id not in names and len(matches) == 1:
            job_id = matches[0]
        if job_id not in names:
            raise UnknownName(f"no job {job_id!r} at {cluster.address}; {nearest(job_id, ids)}")
        return cls(cluster, job_id, names[job_id])

    @property
    def id(self) -> str:
        """The job's id."""
        return self._id

    def _ray_job(self) -> RayJob:
        found = self._cluster.find(self.name)
        if found is None:
            raise UnknownName(f"the cluster at {self._cluster.address} forgot job {self.name}")
        return found

    def _read(self) -> tuple[list[Event], str]:
        log = self._cluster.log(self.name)
        return LogReader().feed(log if log.endswith("\n") else f"{log}\n")

    def _look(self) -> tuple[RayJob, list[Event]]:
        job = self._ray_job()  # before the log: see state_of_remote
        return job, list(self.events())

    def status(self) -> dict[str, Any]:
        """State, exit code, message and stages."""
        job, events = self._look()
        plan = plan_in(events)
        stages = [event for event in events if event["kind"] == "stage"]
        return {
            "id": self.id,
            "created": iso(job.started_s),
            "simulated": _simulated(job),
            **state_of_remote(job, events),
            "stages": stage_rows(plan.flow.stages if plan else (), stages),
        }

    def brief(self) -> dict[str, Any]:
        """What a program keeps of a job that it leaves alone."""
        simulated = _simulated(self._ray_job())
        return {"id": self.id, "address": self._cluster.address, "simulated": simulated}

    def plan(self) -> Plan:
        """The plan that the job runs by; waits until the cluster has made it.

        Raises:
            OptikitError: as ``result``, where the job ended without one.
        """
        while True:
            job, events = self._look()
            plan = plan_in(events)
            if plan is not None:
                return plan
            if job.ended:
                self.result()
                raise ClusterError(f"the log of job {self.name} on the cluster is gone")
            time.sleep(_POLL_S)

    def summary(self) -> dict[str, Any]:
        """What ``optikit show --json`` prints, as of the last stage that ended.

        Raises:
            BadInput: no stage has ended yet.
        """
        job, events = self._look()
        told = [event["facts"] for event in events if event["kind"] == "summary"]
        if not told:
            raise BadInput(
                f"job {self.id} has nothing to show yet; `optikit status {self.id}` says where it "
                "stands"
            )
        return {**told[-1], **state_of_remote(job, events)}

    def events(self) -> Iterator[Event]:
        """The journal so far, without what only the archive on the cluster has."""
        yield from self._read()[0]

    def trials(self) -> Trials:
        """Every trial that ended so far, oldest first, without its probes."""
        latest = {e["trial"]["id"]: e["trial"] for e in self.events() if e["kind"] == "trial"}
        return Trials(Trial.parse(trial) for trial in latest.values())

    def _repr_html_(self) -> str:
        return job_html(self.status())

    def logs(self, trial: str | None = None) -> str:
        """The driver's log.

        Raises:
            BadInput: a trial's log was asked for; it lies in the archive.
        """
        if trial is not None:
            raise BadInput(
                f"the engine's log of trial {trial} lies on the cluster, in the job's archive "
                "(`optikit show` says where)"
            )
        return self._read()[1]

    def plots(self) -> list[Path]:
        """None: they are drawn from the archive.

        Raises:
            BadInput: always.
        """
        raise BadInput("plots are drawn from the archive: run `optikit show --plots` there")

    def log_lines(self) -> Iterator[str]:
        """The driver's log as it grows, until the job has ended."""
        reader = LogReader()
        for piece in self._pieces():
            text = reader.feed(piece)[1]
            if text:
                yield text

    def result(self, timeout_s: float | None = None, on_event: OnEvent | None = None) -> JobResult:
        """Wait for the end; as ``Job.result``. The bundle's path is one of the cluster.

        Raises:
            BadInput: the job was rejected on the cluster.
            StageFailed: a stage gave up, or the driver is gone.
            Cancelled: the job was cancelled.
            ClusterError: the cluster could not be reached for five minutes.
            TimeoutError: the job still runs.
        """
        began, reader = time.monotonic(), LogReader()
        for piece in self._pieces():
            for event in reader.feed(piece)[0]:
                if on_event:
                    on_event(event)
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                raise TimeoutError(f"job {self.id} still runs after {timeout_s:g} s")
        state = state_of_remote(*self._look())
        log = f"see `optikit logs {self.id}`"
        raise_failure(self.id, state["state"], state["message"] or log, log)
        return JobResult.of(self.summary())

    def _pieces(self) -> Iterator[str]:
        """The log until the job has ended, each character once, through broken connections."""
        seen, lost_since = 0, None
        while True:
            skip = seen
            try:
                for piece in self._cluster.tail(self.name, _POLL_S):
                    fresh = piece[min(skip, len(piece)) :]
                    skip -= len(piece) - len(fresh)
                    seen += len(fresh)
                    lost_since = None
                    yield fresh
                if self._ray_job().ended:
                    return
            except ClusterError:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > _LOST_S:
                    raise
            time.sleep(_RETRY_S)

    def cancel(self, patience_s: float = 30.0 + STOP_WAIT_S) -> bool:
        """Stop the job, its engines and its workers; False if it had ended already.

        Raises:
            ClusterError: it did not stop within ``patience_s``.
        """
        if self._ray_job().ended:
            return False
        self._cluster.stop(self.name)
        until = time.monotonic() + patience_s
        while not self._ray_job().ended:
            if time.monotonic() > until:
                raise ClusterError(
                    f"job {self.name} did not stop within {patience_s:g} s of being asked to; "
                    f"`optikit cancel {self.id}` asks again"
                )
            time.sleep(_POLL_S / 2)
        return True

    def resume(self, pool: str | None = None, python: str = "python") -> RemoteJob:
        """Go on from the last record with a new driver.

        Raises:
            BadInput: the job has an end that a resume cannot change, or it still runs.
            ClusterError: the cluster cannot be reached, or refused.
        """
        job, events = self._look()
        state = state_of_remote(job, events)["state"]
        if not job.ended or state in ("done", "negative", "inconclusive"):
            raise BadInput(f"job {self.id} is {state}: there is nothing to resume")
        planned = next((event for event in events if event["kind"] == "planned"), None)
        if planned is None:
            raise BadInput(
                f"job {self.id} was not planned on the cluster: it has no record to go on from; "
                "submit it anew"
            )
        run = int(self.name.removeprefix(self.id).removeprefix(".r") or 1) + 1
        name = send(
            self._cluster,
            Plan.parse(planned["plan"]).job,
            self.id,
            home=planned["home"],
            pool=pool,
            python=python,
            run=run,
        )
        return RemoteJob(self._cluster, self.id, name)
