"""The stages' records, derived again from trials and from each other: winner, corners, the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optikit.archive import JobArchive, digest_of
from optikit.core.corners import four_corners
from optikit.core.finalists import contenders, shipped_run, winner
from optikit.core.fitness import best
from optikit.core.outcome import Outcome, after_evaluate, final
from optikit.core.recheck import differences
from optikit.engines import ENGINES
from optikit.errors import OptikitError
from optikit.reports._check_trials import as_findings
from optikit.reports.summary import summary
from optikit.spec.finding import Finding
from optikit.spec.plan import Plan
from optikit.spec.record import (
    BenchmarkRecord,
    CompressRecord,
    Contender,
    EvaluateRecord,
    StageRecord,
    Trial,
    TuneRecord,
)
from optikit.stages.base import Inputs

__all__ = ["check_records"]


def check_records(
    archive: JobArchive, plan: Plan, records: Mapping[str, StageRecord], trials: Sequence[Trial]
) -> Iterator[Finding]:
    """What of the records does not follow.

    Args:
        records: the last of each stage.
        trials: the last word on each, as the journal has it.
    """
    yield from _inputs(archive, plan, records)
    benchmark, tune = records.get("benchmark"), records.get("tune")
    known = {trial.id: trial for trial in trials}
    for record in (benchmark, tune):
        if isinstance(record, BenchmarkRecord | TuneRecord):
            yield from _trials(record, known)
    inputs = Inputs()
    for record in records.values():
        inputs = inputs.plus(record)
    if isinstance(tune, TuneRecord):
        yield from _tuned(inputs, tune)
    yield from _corners(archive, plan, inputs, known)
    yield from _end(archive, plan, records)


def _inputs(
    archive: JobArchive, plan: Plan, records: Mapping[str, StageRecord]
) -> Iterator[Finding]:
    """Each record was made from the records before it, by the engine that is written down."""
    versions = _versions(archive, plan)
    previous: list[StageRecord] = []
    for name in plan.flow.stages:
        record = records.get(name)
        if record is None:
            return
        expected = [digest_of(name, plan.job, version, *previous) for version in versions]
        if expected and record.inputs_digest not in expected:
            yield Finding(
                kind="digest",
                where=f"record of {name}: inputs_digest",
                recorded=record.inputs_digest,
                derived=expected[0],
            )
        previous.append(record)


def _versions(archive: JobArchive, plan: Plan) -> list[str]:
    """Of the engine: at the submission, and now (a resume measures anew where it changed)."""
    engine = archive.environment().get("engine")
    found = [str(engine["version"])] if isinstance(engine, dict) and "version" in engine else []
    try:
        found.append(ENGINES.load(plan.job.engine.name).version())
    except OptikitError:
        return found
    return list(dict.fromkeys(found))


def _trials(record: BenchmarkRecord | TuneRecord, known: Mapping[str, Trial]) -> Iterator[Finding]:
    """A record's trials are those of the journal."""
    for trial in record.trials:
        where = f"record of {record.stage}: trial {trial.id}"
        if trial.id not in known:
            yield Finding(kind="missing", where=f"{where} has no event")
        else:
            yield from as_findings(where, list(differences(trial, known[trial.id])))


def _tuned(inputs: Inputs, tune: TuneRecord) -> Iterator[Finding]:
    """Contenders and winner."""
    measured = inputs.benchmark.trials if inputs.benchmark else ()
    last = contenders((t for t in tune.trials if t.purpose == "finalist"), measured)
    found = list(differences(_plain(tune.contenders), _plain(last)))
    yield from as_findings("record of tune: contenders", found)
    ships = inputs.ships()
    shipped = [trial for trial in (*measured, *tune.trials) if trial.variant == ships]
    top = winner([c for c in last if c.variant == ships])
    run = shipped_run(top, shipped) if top is not None else None
    first = run or best(trial for trial in shipped if trial.purpose != "finalist")
    derived = first.id if first else None
    if derived != tune.winner:
        where = "record of tune: winner"
        yield Finding(kind="figure", where=where, recorded=tune.winner, derived=derived)


def _plain(some: Sequence[Contender]) -> list[object]:
    return [one.model_dump(mode="json") for one in some]


def _corners(
    archive: JobArchive, plan: Plan, inputs: Inputs, known: Mapping[str, Trial]
) -> Iterator[Finding]:
    """The table that is shown, from the journal's own trials."""

    def of(trials: Sequence[Trial]) -> list[Trial]:
        return [known.get(trial.id, trial) for trial in trials]

    benchmark = of(inputs.benchmark.trials if inputs.benchmark else ())
    tuned = of(inputs.tune.trials if inputs.tune else ())
    if not benchmark and not tuned:
        return
    last = contenders((t for t in tuned if t.purpose == "finalist"), benchmark)
    derived = four_corners(benchmark, tuned, plan.flow.compresses, last)
    shown = summary(archive)["corners"]
    if inputs.benchmark is not None and ("tune" not in plan.flow.stages or inputs.tune):
        plain = {name: corner.model_dump(mode="json") for name, corner in derived.items()}
        yield from as_findings("corners", list(differences(shown, plain)))


def _end(archive: JobArchive, plan: Plan, records: Mapping[str, StageRecord]) -> Iterator[Finding]:
    """How the job says that it ended, where it says that it came to its end."""
    said = archive.of_kind("state")[-1:]
    if not said or said[0].get("state") not in ("done", "negative", "inconclusive"):
        return
    derived = _outcome(plan, records)
    if derived is None:
        where = "journal.jsonl: the last state, without the records of all stages"
        yield Finding(kind="missing", where=where, recorded=said[0].get("state"))
        return
    shown = {key: said[0].get(key) for key in ("state", "exit_code", "message", "verdict")}
    plain = {**derived.model_dump(mode="json"), "exit_code": derived.exit_code}
    yield from as_findings("journal.jsonl: the last state", list(differences(shown, plain)))


def _outcome(plan: Plan, records: Mapping[str, StageRecord]) -> Outcome | None:
    """The job's answer; None: stages are missing."""
    inputs = Inputs()
    for name in plan.flow.stages:
        record = records.get(name)
        if record is None:
            return None
        inputs = inputs.plus(record)
        if isinstance(record, EvaluateRecord):
            ended = after_evaluate(plan, record)
            if ended is not None:
                return ended
        chosen = inputs.chosen()
        if chosen is not None and isinstance(record, CompressRecord | EvaluateRecord):
            plan = plan.going_on(chosen.recipe)
    return final(plan, inputs.evaluate, inputs.benchmark, inputs.tune)
