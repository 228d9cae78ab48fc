"""One job in numbers, recomputed from its journal at every call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from optikit.archive import JobArchive
from optikit.core.corners import Corner, four_corners
from optikit.core.elsewhere import sends_to
from optikit.core.finalists import mean_rate
from optikit.core.licence import NOT_STATED
from optikit.spec.plan import Plan
from optikit.spec.record import (
    BenchmarkRecord,
    CompressRecord,
    EvaluateRecord,
    FetchRecord,
    PublishRecord,
    StageRecord,
    TuneRecord,
)

__all__ = ["FINAL", "StateOf", "stage_rows", "state_of", "summary"]

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

    ``corners``: see core/corners.py. ``finalists``: the contenders of the last comparison.
    ``usage``: of the devices, by variant; ``device_hours``: of all trials. ``stages``: the flow's
    stages in order with state (waiting, running, done, skipped, failed, cancelled) and seconds.
    ``endpoint``: of somebody else's server; then ``sku`` is where the requests were sent from.
    ``damaged_lines``: lines of the journal that are no events; what they said is missing here.
    ``left``: what stages held and could not get back (processes, ports, GPU memory), in words.
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
        tune.trials
        if isinstance(tune, TuneRecord)
        else [t for t in trials if t.purpose != "benchmark"]
    )
    last = tune.contenders if isinstance(tune, TuneRecord) else ()
    corners: dict[str, Corner] = four_corners(
        list(in_benchmark), list(in_tune), plan.flow.compresses, last
    )
    published = publish if isinstance(publish, PublishRecord) else None
    status = state_of(archive)
    return {
        "id": archive.job_id,
        "created": iso(archive.created()),
        "simulated": plan.simulated,
        **{key: status[key] for key in ("state", "exit_code", "verdict", "message")},
        "flow": plan.flow.name,
        "model": f"{plan.job.model.name}:{plan.job.model.version}",
        "recipe": _recipe(plan, records),
        "sku": plan.job.compute.sku.value,
        "engine": plan.job.engine.name,
        "endpoint": sends_to(plan.job).base_url if plan.elsewhere else None,
        "workload": plan.job.workload.model_dump(mode="json"),
        "slo": [str(bound) for bound in plan.job.slo.bounds],
        "stages": stages(archive),
        "corners": {name: corner.model_dump(mode="json") for name, corner in corners.items()},
        "candidates": _candidates(records),
        "dataset": _dataset(records),
        **_source(records),
        "quality": (
            [v.model_dump(mode="json") for v in evaluate.verdicts]
            if isinstance(evaluate, EvaluateRecord)
            else []
        ),
        "trials": len(trials),
        "winner": tune.winner if isinstance(tune, TuneRecord) else None,
        "finalists": [
            {**one.model_dump(mode="json"), "mean_per_device": mean_rate(one)} for one in last
        ],
        "usage": {
            variant: used.model_dump(mode="json")
            for variant, used in (tune.usage if isinstance(tune, TuneRecord) else {}).items()
        },
        "device_hours": 0.0
        if plan.elsewhere
        else round(sum(trial.device_seconds for trial in trials) / 3600, 4),
        "bundle": published.bundle if published else None,
        "certificate": f"{published.bundle}/certificate.json"
        if published and published.certificate_digest
        else f"{archive.root}/certificate.json"
        if isinstance(benchmark, BenchmarkRecord) and benchmark.certificate_digest
        else None,
        "registered": f"{published.model_name}:{published.model_version}"
        if published and published.model_version
        else None,
        "archive": str(archive.root),
        "damaged_lines": archive.damaged_lines(),
        "left": _left(archive),
    }


def _left(archive: JobArchive) -> list[str]:
    """What the last end of each stage could not get back."""
    last = {event["stage"]: event for event in archive.of_kind("teardown")}
    return [f"{name}: {what}" for name, event in last.items() for what in event["left"]]


def _source(records: dict[str, StageRecord]) -> dict[str, Any]:
    """Of the model that was fetched: digest, where it came from, licence; None where not known."""
    found = records.get("fetch")
    fetched = found if isinstance(found, FetchRecord) else None
    return {
        "model_digest": fetched.model.digest if fetched else None,
        "model_address": fetched.model_address if fetched else None,
        "licence": (fetched.licence or NOT_STATED) if fetched else None,
    }


def _dataset(records: dict[str, StageRecord]) -> dict[str, Any] | None:
    """What became of the dataset's rows; None where nothing was calibrated."""
    compress = records.get("compress")
    facts = compress.dataset if isinstance(compress, CompressRecord) else None
    return facts.model_dump(mode="json") if facts else None


def _candidates(records: dict[str, StageRecord]) -> list[dict[str, Any]]:
    """How each candidate was made, and who went on."""
    compress, evaluate = records.get("compress"), records.get("evaluate")
    made = compress.candidates if isinstance(compress, CompressRecord) else ()
    chosen = evaluate.chosen if isinstance(evaluate, EvaluateRecord) else None
    return [
        {
            **one.model_dump(mode="json", exclude={"model", "layer_errors", "dataset"}),
            "size_bytes": one.model.size_bytes if one.model else None,
            "layer_error": sum(layer.error for layer in one.layer_errors) or None,
            "goes_on": one.id == chosen,
        }
        for one in made
    ]


def _recipe(plan: Plan, records: dict[str, StageRecord]) -> str | None:
    """The recipe that went on; those that are tried while none has."""
    compress, evaluate = records.get("compress"), records.get("evaluate")
    chosen = evaluate.chosen if isinstance(evaluate, EvaluateRecord) else None
    made = compress.candidates if isinstance(compress, CompressRecord) else ()
    went_on = next((c.recipe for c in made if c.id == chosen), None)
    return went_on or ", ".join(o.recipe.name for o in plan.options if o.recipe) or None


def stages(archive: JobArchive) -> list[dict[str, Any]]:
    """Name, state and seconds of each stage of the flow."""
    return stage_rows(archive.plan().flow.stages, archive.of_kind("stage"))


def stage_rows(names: Iterable[str], events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name, state and seconds of each stage, by the journal's ``stage`` events."""
    found: dict[str, dict[str, Any]] = {
        name: {"name": name, "state": "waiting", "seconds": None} for name in names
    }
    for event in events:
        seconds = event.get("seconds")
        found[event["stage"]] = {
            "name": event["stage"],
            "state": event["state"],
            "seconds": round(seconds, 3) if seconds is not None else None,
        }
    return list(found.values())
