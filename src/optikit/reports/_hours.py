"""Where a job's time and device-hours went, by stage; from its journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from optikit.archive import JobArchive
from optikit.reports.summary import stages
from optikit.spec.record import Trial

__all__ = ["StageHours", "where_the_hours_went"]

_PURPOSES = {"benchmark": ("benchmark",), "tune": ("tune", "finalist")}


@dataclass(frozen=True)
class StageHours:
    """One stage."""

    stage: str
    state: str
    seconds: float | None
    """Of its last run that ended; of all of them together the journal tells."""
    queued_s: float
    """In a queue, over all runs."""
    device_hours: float
    """That its trials held."""
    starting: float | None
    """Share of these in which servers started; None: no trials."""
    measuring: float | None
    teardown_s: float | None
    """Until everything that it held was back."""


def where_the_hours_went(archive: JobArchive, trials: Sequence[Trial]) -> list[StageHours]:
    """Every stage of the flow that began, in order."""
    queued: dict[str, float] = defaultdict(float)
    for key, ask in archive.asks().items():
        until = ask.granted_s if ask.granted_s is not None else ask.left_s
        if until is not None:
            queued[key.rsplit("/", 1)[-1].rsplit("-", 1)[0]] += max(0.0, until - ask.asked_s)
    back = {
        event["stage"]: sum(event[name] for name in ("workers_s", "swept_s", "returned_s"))
        for event in archive.of_kind("teardown")
    }
    rows = []
    for stage in stages(archive):
        name = stage["name"]
        if stage["state"] == "waiting":
            continue
        mine = [t for t in trials if t.purpose in _PURPOSES.get(name, ())]
        held = sum(trial.device_seconds for trial in mine)
        rows.append(
            StageHours(
                stage=name,
                state=stage["state"],
                seconds=stage["seconds"],
                queued_s=queued[name],
                device_hours=held / 3600,
                starting=_share([t.startup_s * t.serving.devices for t in mine], held),
                measuring=_share([t.measuring_s * t.serving.devices for t in mine], held),
                teardown_s=back.get(name),
            )
        )
    return rows


def _share(parts: Sequence[float], whole: float) -> float | None:
    return sum(parts) / whole if whole > 0 else None
