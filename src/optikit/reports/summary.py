"""One job in numbers, recomputed from its journal at every call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from optikit.archive import JobArchive
from optikit.core.corners import Corner, four_corners
from optikit.spec.record import BenchmarkRecord, EvaluateRecord, PublishRecord, TuneRecord

__all__ = ["FINAL", "StateOf", "state_of", "summary"]

FINAL = frozenset({"done", "negative", "inconclusive", "cancelled", "rejected", "failed"})
StateOf = dict[str, Any]


def state_of(archive: JobArchive) -> StateOf:
    """``state``, ``exit_code``, ``message``, ``verdict`` and ``pid`` of a job.

    States: starting, running, done, negative, inconclusive, cancelled, rejected (bad input),
    failed, and interrupted (the driver is gone and did not say how it ended).
    """
    pid = None
    last: dict[str, Any] = {"state": "starting"}
    for event in archive.of_kind("state"):
        last = event
        pid = event.get("pid", pid)
    state = last["state"]
    if state == "running" and not archive.driver_alive():
        # it may have ended between the two looks
        last = archive.of_kind("state")[-1]
        state = "interrupted" if last["state"] == "running" else last["state"]
    return {
        "state": state,
        "exit_code": last.get("exit_code"),
        "message": last.get("message", ""),
        "verdict": last.get("verdict"),
        "pid": pid,
    }


def iso(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601, UTC.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def summary(archive: JobArchive) -> dict[str, Any]:
    """Everything that ``optikit show`` prints, as plain JSON values.

    ``corners``: see core/corners.py. ``stages``: the flow's stages in order with state (waiting,
    running, done, skipped, failed, cancelled) and seconds. ``damaged_lines``: lines of the journal
    that are no events; what they said is missing here.
    """
    plan = archive.plan()
    records = archive.records()
    benchmark, tune = records.get("benchmark"), records.get("tune")
    evaluate, publish = records.get("evaluate"), records.get("publish")
    trials = archive.trials()
    in_benchmark = (
        benchmark.trials
        if isinstance(benchmark, BenchmarkRecord)
        else [t for t in trials if t.purpose == "benchmark"]
    )
    in_tune = (
        tune.trials if isinstance(tune, TuneRecord) else [t for t in trials if t.purpose == "tune"]
    )
    corners: dict[str, Corner] = four_corners(
        list(in_benchmark), list(in_tune), plan.flow.compresses
    )
    published = publish if isinstance(publish, PublishRecord) else None
    status = state_of(archive)
    return {
        "id": archive.job_id,
        "created": iso(archive.created()),
        **{key: status[key] for key in ("state", "exit_code", "verdict", "message")},
        "flow": plan.flow.name,
        "model": f"{plan.job.model.name}:{plan.job.model.version}",
        "recipe": plan.recipe.name if plan.recipe else None,
        "sku": plan.job.compute.sku.value,
        "engine": plan.job.engine.name,
        "workload": plan.job.workload.model_dump(mode="json"),
        "slo": [str(bound) for bound in plan.job.slo.bounds],
        "stages": stages(archive),
        "corners": {name: corner.model_dump(mode="json") for name, corner in corners.items()},
        "quality": (
            [v.model_dump(mode="json") for v in evaluate.verdicts]
            if isinstance(evaluate, EvaluateRecord)
            else []
        ),
        "trials": len(trials),
        "winner": tune.winner if isinstance(tune, TuneRecord) else None,
        "bundle": published.bundle if published else None,
        "certificate": f"{published.bundle}/certificate.json"
        if published and published.certificate_digest
        else None,
        "registered": f"{published.model_name}:{published.model_version}"
        if published and published.model_version
        else None,
        "archive": str(archive.root),
        "damaged_lines": archive.damaged_lines(),
    }


def stages(archive: JobArchive) -> list[dict[str, Any]]:
    """Name, state and seconds of each stage of the flow."""
    found: dict[str, dict[str, Any]] = {
        name: {"name": name, "state": "waiting", "seconds": None}
        for name in archive.plan().flow.stages
    }
    for event in archive.of_kind("stage"):
        seconds = event.get("seconds")
        found[event["stage"]] = {
            "name": event["stage"],
            "state": event["state"],
            "seconds": round(seconds, 3) if seconds is not None else None,
        }
    return list(found.values())
