"""One job as its team watches it: where it stands, its trials as they end, what was said last.

Everything here is data of the job; it is written into a page by templates that escape it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from optikit.reports.summary import FINAL, iso, stage_rows
from optikit.reports.telling import told
from optikit.reports.words import duration, number
from optikit.service import reading
from optikit.service.database import Entry
from optikit.spec.plan import Plan
from optikit.spec.record import Trial

__all__ = ["STATES", "TONES", "job_facts", "version"]

STATES = {
    "queued": "waiting",
    "starting": "starting",
    "running": "running",
    "interrupted": "interrupted",
    "done": "done",
    "negative": "negative verdict",
    "inconclusive": "no verdict",
    "rejected": "rejected",
    "failed": "failed",
    "cancelled": "cancelled",
    "damaged": "damaged",
}
"""Every state in words."""
TONES = {
    **dict.fromkeys(("queued", "starting", "running"), "live"),
    **dict.fromkeys(("negative", "rejected", "failed", "damaged"), "bad"),
    "done": "good",
}
"""How a state looks beside its words; ``unclear`` where none is said."""
_TRIALS = 200
_LINES = 120
_LOG_BYTES = 16 << 10


def version(entry: Entry, queue: Sequence[Mapping[str, Any]]) -> str:
    """Changes when the page of the job would; costs no reading of the journal."""
    archive = reading.archive_of(entry)
    sizes = [path.stat().st_size for path in (archive.journal, archive.driver_log) if path.exists()]
    alive = entry.state == "started" and archive.driver_alive()
    text = json.dumps([entry.id, entry.state, sizes, alive, _waits(entry, queue)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def job_facts(entry: Entry, queue: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page of a job says, as plain JSON values.

    Args:
        queue: the places of the team's live jobs.

    Raises:
        ArchiveError: the archive is not whole.
    """
    archive = reading.archive_of(entry)
    plan, known, events = archive.plan(), reading.state(entry), list(archive.events())
    trials = archive.trials()
    rows = [_trial_row(trial, plan.elsewhere) for trial in reversed(trials)]
    best = max((t for t in trials if _per_device(t)), key=_per_device, default=None)
    for row in rows:
        row["best"] = best is not None and row["trial"] == best.id
    under_way = _under_way(plan, events, trials) if known["state"] not in FINAL else []
    verdict = known["verdict"]
    return {
        "id": entry.id,
        "team": entry.team,
        "submitted": iso(entry.submitted_s),
        "title": f"{plan.flow.name} of {plan.job.model.name} on {plan.job.compute.sku.value}",
        "model": f"{plan.job.model.name}:{plan.job.model.version}",
        "slo": [str(bound) for bound in plan.job.slo.bounds],
        "workload": str(plan.job.workload),
        "simulated": plan.simulated,
        "state": known["state"],
        "state_words": STATES.get(known["state"], known["state"]),
        "tone": TONES.get(known["state"], "unclear"),
        "ended": known["state"] in FINAL and entry.state != "queued",
        "verdict": verdict,
        "message": known["message"] or "",
        "waits": _waits(entry, queue),
        "stages": _stages(plan, events),
        "under_way": under_way,
        "trials": rows[:_TRIALS],
        "trials_ended": len(rows),
        "best": None if best is None else _best(plan, best),
        "lines": _lines(plan, events),
        "printed": _printed(entry),
        "status": _status(plan, known["state"], events, trials, best),
    }


def _per_device(trial: Trial) -> float:
    return (trial.rate_rps or 0.0) / trial.serving.devices


def _best(plan: Plan, trial: Trial) -> str:
    if plan.elsewhere:  # how many devices, nobody here knows
        return f"{number(trial.rate_rps)} requests/s, by trial {trial.id}"
    rate = f"{number(_per_device(trial))} requests/s a device"
    return f"{rate}, by trial {trial.id} ({trial.variant}, TP {trial.serving.tensor_parallel})"


def _trial_row(trial: Trial, elsewhere: bool) -> dict[str, Any]:
    why = trial.error or (trial.rate.reason if trial.rate else "")
    serving = trial.serving
    return {
        "trial": trial.id,
        "variant": trial.variant,
        "tp": number(None if elsewhere else serving.tensor_parallel),
        "seqs": number(None if elsewhere else serving.max_num_seqs),
        "tokens": number(None if elsewhere else serving.max_num_batched_tokens),
        "rate": number(trial.rate_rps),
        "per_device": number(None if elsewhere else _per_device(trial) or None),
        "state": trial.state,
        "why": why if trial.state != "complete" or trial.rate_rps is None else "",
    }


def _under_way(
    plan: Plan, events: Sequence[Mapping[str, Any]], trials: Sequence[Trial]
) -> list[dict[str, str]]:
    """Trials of the last run that began and have not ended, each with its last probe."""
    over = {trial.id for trial in trials}
    found: dict[str, dict[str, str]] = {}
    for event in events:
        if event["kind"] == "state":
            found.clear()  # another driver: what the one before had begun is no more
        elif event["kind"] == "trial_started" and event["trial"] not in over:
            words = {"trial": event["trial"], "what": _told(plan, event).strip(), "probe": ""}
            found[event["trial"]] = words
        elif event["kind"] == "probe" and event.get("trial") in found:
            found[event["trial"]]["probe"] = _told(plan, event).strip()
    return list(found.values())


def _stages(plan: Plan, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = stage_rows(plan.flow.stages, [e for e in events if e["kind"] == "stage"])
    last = next((e["state"] for e in reversed(events) if e["kind"] == "state"), "")
    for row in rows:
        if row["state"] == "running" and last in FINAL:
            row["state"] = "broken off"  # its driver had no time to say so
        row["took"] = duration(row["seconds"]) if row["seconds"] is not None else ""
    return rows


def _waits(entry: Entry, queue: Sequence[Mapping[str, Any]]) -> str:
    """What the job waits for, in words; without seconds, which would change all the time."""
    place = next((row for row in queue if row.get("job") == entry.id), None)
    if place is None or entry.state == "ended":
        return ""
    if "devices" not in place:
        return "It waits for its turn to be started." if entry.state == "queued" else ""
    needs = f"{place['devices']} x {place['kind']} for the stage {place['stage']}"
    if "holds_s" in place:
        return f"It holds {needs}."
    return f"It waits for {needs}; {place['older']} older stages wait for the same."


def _lines(plan: Plan, events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The journal in words, the latest last."""
    found: list[str] = []
    for event in reversed(events):
        if words := _told(plan, event):
            found.append(f"{iso(event['t'])[11:19]}  {words}")
        if len(found) >= _LINES:
            break
    return found[::-1]


def _told(plan: Plan, event: Mapping[str, Any]) -> str:
    try:
        if event["kind"] == "state":
            said = event.get("message") or ""
            return f"job {event['state']}{': ' if said else ''}{said}"
        return told(event, plan.elsewhere)
    except (KeyError, TypeError, ValueError):  # of another version: the rest can still be told
        return f"({event['kind']})"


def _printed(entry: Entry) -> str:
    """The end of what the driver printed: mostly what went wrong."""
    size = reading.log(entry, None, 0, 1)["size"]
    start = max(0, size - _LOG_BYTES)
    text = str(reading.log(entry, None, start, _LOG_BYTES)["text"])
    return text.partition("\n")[2] if start else text


def _status(
    plan: Plan,
    state: str,
    events: Sequence[Mapping[str, Any]],
    trials: Sequence[Trial],
    best: Trial | None,
) -> str:
    """One sentence, for those who hear the page: it changes when something is worth hearing."""
    words = f"State: {STATES.get(state, state)}"
    if state in ("queued", *FINAL):
        return f"{words}."
    rows = stage_rows(plan.flow.stages, [e for e in events if e["kind"] == "stage"])
    at = [row["name"] for row in rows if row["state"] == "running"]
    words += f", stage {at[0]}" if at else ""
    count = len(trials)
    words += f"; {count} {'trial' if count == 1 else 'trials'} ended" if count else ""
    return f"{words}; best so far {_best(plan, best)}." if best else f"{words}."
