"""A cluster's Jobs API in memory, where Ray is not started."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optikit.adapters.ray_jobs import DuplicateJob, RayJob
from optikit.core.eventlines import event_line
from optikit.errors import ClusterError
from optikit.spec.plan import Plan


@dataclass
class ClusterDouble:
    """Has the verbs of RayJobs; ``loses_answers`` takes a job and then breaks the connection."""

    address: str = "http://head:8265"
    ray_version: str | None = None
    loses_answers: bool = False
    refuses: str = ""
    jobs: dict[str, RayJob] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)
    """What each submission's parcel and request held."""
    breaks_at: list[int] = field(default_factory=list)
    """Characters after which the next tails break."""

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        working_dir: Path,
        metadata: Mapping[str, str],
        variables: Mapping[str, str],
    ) -> None:
        if self.refuses:
            raise ClusterError(self.refuses)
        if job_id in self.jobs:
            raise DuplicateJob("taken")
        with zipfile.ZipFile(working_dir) as parcel:
            told = json.loads(parcel.read("submission.json"))
        self.sent.append({"entrypoint": entrypoint, "told": told, "variables": dict(variables)})
        self.jobs[job_id] = RayJob(
            id=job_id, status="PENDING", started_s=len(self.jobs) + 1.0, metadata=dict(metadata)
        )
        self.logs[job_id] = ""
        if self.loses_answers:
            raise ClusterError("the connection broke")

    def find(self, job_id: str) -> RayJob | None:
        return self.jobs.get(job_id)

    def all(self) -> list[RayJob]:
        return list(self.jobs.values())

    def log(self, job_id: str) -> str:
        return self.logs[job_id]

    def tail(self, job_id: str, patience_s: float = 1.0) -> Iterator[str]:
        text = self.logs[job_id]
        end = self.breaks_at.pop(0) if self.breaks_at else None
        for begin in range(0, len(text if end is None else text[:end]), 7):
            yield text[begin : min(begin + 7, end or len(text))]
        if end is not None:
            raise ClusterError("the connection broke")

    def stop(self, job_id: str) -> bool:
        self.becomes(job_id, "STOPPED")
        return True

    # ---- what happens on the cluster

    def submit_stranger(self, name: str) -> None:
        self.jobs[name] = RayJob(id=name, status="RUNNING")

    def becomes(self, job_id: str, status: str, exit_code: int | None = None) -> None:
        self.jobs[job_id] = replace(self.jobs[job_id], status=status, exit_code=exit_code)

    def says(self, job_id: str, *events: dict[str, Any]) -> None:
        for number, event in enumerate(events):
            self.logs[job_id] += event_line({"t": float(number), **event}) or ""

    def plans(self, job_id: str, plan: Plan) -> None:
        self.says(
            job_id,
            {"kind": "state", "state": "starting"},
            {"kind": "planned", "plan": plan.model_dump(mode="json"), "home": "/h"},
            {"kind": "created"},
            {"kind": "state", "state": "running"},
            {"kind": "stage", "stage": "tune", "state": "running"},
        )
