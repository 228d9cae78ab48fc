"""Where a job on a cluster stands: what Ray knows of its driver, and what the driver said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optikit.adapters.ray_jobs import RayJob
from optikit.errors import ClusterError, OptikitError
from optikit.reports.summary import FINAL, StateOf
from optikit.spec.plan import Plan

__all__ = ["Event", "plan_in", "state_of_remote", "state_without_log"]

Event = dict[str, Any]
_CODES = {0: "done", 2: "rejected", 3: "negative", 4: "inconclusive", 130: "cancelled"}
_NOT_FOUND = 127
"""How a shell ends that does not find the command."""


def state_of_remote(job: RayJob, events: Sequence[Event]) -> StateOf:
    """``state``, ``exit_code``, ``verdict`` and ``message``, as of a local job.

    Args:
        job: asked for before the events: a driver that has ended had said so by then.
    """
    said = [event for event in events if event["kind"] == "state"]
    last = said[-1] if said else {"state": "starting"}
    found = {key: last.get(key) for key in ("state", "exit_code", "verdict")}
    found["message"] = last.get("message") or ""
    if not job.ended or last["state"] in FINAL:
        return found
    if job.status == "STOPPED":
        return {**found, "state": "cancelled", "exit_code": 130, "message": "cancelled"}
    if said:
        return {**found, "state": "interrupted"}
    why = f"its driver never began on the cluster: {' '.join(job.message.split())[-400:]}"
    if job.exit_code == _NOT_FOUND:
        why += ". Name the interpreter of the cluster's Ray with --python"
    return {**found, "state": "failed", "exit_code": 1, "message": why}


def state_without_log(job: RayJob) -> str:
    """The state in a word, from Ray alone."""
    if not job.ended:
        return "starting" if job.status == "PENDING" else "running"
    if job.status == "STOPPED":
        return "cancelled"
    if job.status == "SUCCEEDED":
        return "done"
    return _CODES.get(job.exit_code or 1, "failed")


def plan_in(events: Sequence[Event]) -> Plan | None:
    """The plan that the cluster made; None where it has made none yet.

    Raises:
        ClusterError: it is not of this version of OptiKIT.
    """
    for event in events:
        if event["kind"] == "planned":
            try:
                return Plan.parse(event["plan"], "the cluster's plan")
            except OptikitError as error:
                raise ClusterError(f"another version of OptiKIT planned it: {error}") from None
    return None
