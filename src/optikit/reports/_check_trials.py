"""Every trial, derived again from its raw requests: percentiles, verdicts, rate, fitness."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optikit.archive import JobArchive
from optikit.core.fitness import fitness
from optikit.core.recheck import Difference, differences, walk_again
from optikit.core.timings import Timings
from optikit.errors import ArchiveError, OptikitError
from optikit.journal import raw_digest
from optikit.reports._raw import read_timings
from optikit.spec.finding import Finding
from optikit.spec.plan import Plan
from optikit.spec.record import Probe, Trial
from optikit.spec.serving import ServingConfig
from optikit.stages._measure import price_of

__all__ = ["Counted", "as_findings", "check_trial"]

_MOST = 20
"""Differences that are told of one trial; the rest follows from them."""


@dataclass
class Counted:
    """What was looked at."""

    trials: int = 0
    probes: int = 0
    requests: int = 0
    files: int = 0
    seen: set[str] = field(default_factory=set)


def as_findings(where: str, found: Sequence[Difference], most: int = _MOST) -> Iterator[Finding]:
    """Differences as findings of figures; the first ``most`` of them."""
    for one in found[:most]:
        yield Finding(
            kind="figure",
            where=f"{where}: {one.where}",
            recorded=one.recorded,
            derived=one.derived,
        )
    if len(found) > most:
        yield Finding(kind="figure", where=f"{where}: {len(found) - most} more figures")


def check_trial(
    archive: JobArchive,
    plan: Plan,
    trial: Trial,
    events: Sequence[Mapping[str, Any]],
    counted: Counted,
) -> Iterator[Finding]:
    """What of a trial does not follow from its files.

    Args:
        events: the job's ``probe`` events.
    """
    counted.trials += 1
    folder = archive.root / "trials" / Path(trial.id).name
    where = f"trials/{trial.id}"
    if trial.rate is None:
        if trial.state != "failed":
            yield Finding(kind="figure", where=f"{where}: state", recorded=trial.state)
        return
    yield from _serving(folder, where, trial, counted)
    mine = [event for event in events if event.get("trial") == trial.id]
    timings: dict[int, Timings] = {}
    for probe in trial.rate.probes:
        yield from _event_of_probe(where, probe, mine)
        name = Path(probe.raw or f"probe-{probe.number:02d}.jsonl").name
        yield from _digest(folder, where, name, probe, mine)
        counted.files += 1
        try:
            timings[probe.number] = read_timings(folder / name)
        except ArchiveError as error:
            yield Finding(kind="unreadable", where=f"{where}/{name}", recorded=str(error)[:300])
            continue
        counted.probes += 1
        counted.requests += len(timings[probe.number])
    yield from _figures(where, trial, timings, plan)


def _serving(folder: Path, where: str, trial: Trial, counted: Counted) -> Iterator[Finding]:
    file = folder / "serving.json"
    counted.files += 1
    try:
        served = ServingConfig.parse(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        yield Finding(kind="missing", where=f"{where}/serving.json")
    except (OSError, ValueError, RecursionError, OptikitError) as error:
        yield Finding(kind="unreadable", where=f"{where}/serving.json", recorded=str(error)[:200])
    else:
        found = list(differences(trial.serving, served))
        yield from as_findings(f"{where}/serving.json", found)


def _event_of_probe(
    where: str, probe: Probe, events: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """The probe was written down when it ended, as it stands in the trial."""
    said = _last(probe, events)
    if said is None:
        yield Finding(kind="missing", where=f"{where}: the event of probe {probe.number}")
        return
    found = list(differences(probe, said.get("probe")))
    yield from as_findings(f"{where}: the event of probe {probe.number}", found)


def _digest(
    folder: Path, where: str, name: str, probe: Probe, events: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    said = _last(probe, events)
    written = said.get("raw_digest") if said else None
    if written is None:
        return
    found = raw_digest(folder, [name])
    if found is not None and found != written:
        yield Finding(kind="digest", where=f"{where}/{name}", recorded=written, derived=found)


def _last(probe: Probe, events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last word on a probe: an earlier attempt had one of the same number."""
    found: Mapping[str, Any] | None = None
    for event in events:
        facts = event.get("probe")
        if isinstance(facts, dict) and facts.get("number") == probe.number:
            found = event
    return found


def _figures(
    where: str, trial: Trial, timings: Mapping[int, Timings], plan: Plan
) -> Iterator[Finding]:
    try:
        with np.errstate(all="ignore"):
            walked = walk_again(trial, timings, plan)
            if walked is None:
                return
            job, devices = plan.job, trial.serving.devices
            value = None
            if not walked.pruned:
                weight = job.tuner.slo_penalty_weight
                value = fitness(walked.rate, devices, job.slo, weight, price_of(plan))
    except (OptikitError, ArithmeticError, LookupError, TypeError, ValueError, AssertionError) as e:
        yield Finding(
            kind="figure",
            where=f"{where}: no search comes to this end",
            recorded=trial.rate.outcome if trial.rate else None,
            derived=f"{type(e).__name__}: {e}"[:200],
        )
        return
    found = list(walked.differences)
    state = "pruned" if walked.pruned else "complete"
    found += differences(
        {"state": trial.state, "fitness": trial.fitness}, {"state": state, "fitness": value}
    )
    yield from as_findings(where, found)
