"""The task that benchmark and tune share: one serving config on one fresh server, measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optikit.core.fitness import fitness
from optikit.core.metrics import timing_rows
from optikit.core.rate import rate_search
from optikit.errors import BudgetExceeded, EngineError, PortInUse, StageFailed, WorkerDied
from optikit.loadgen.find_rate import find_rate
from optikit.spec.plan import Plan
from optikit.spec.record import ArtifactRef, Probe, Trial, Variant
from optikit.spec.serving import ServingConfig
from optikit.spec.timing import RequestTiming
from optikit.stages.base import Journal, Tools, attempt, resources_for, write_lines

__all__ = ["Ask", "measure", "must_have_run"]


@dataclass(frozen=True)
class Ask:
    """What to measure."""

    trial_id: str
    number: int
    purpose: Literal["benchmark", "tune"]
    variant: Variant
    model: ArtifactRef
    serving: ServingConfig
    start_rps: float | None = None
    """Where the open loop begins; None: the search finds a start by itself."""


def measure(tools: Tools, plan: Plan, ask: Ask) -> Trial:
    """Measure one config in a worker of the stage's pool; a failure is a FAILED trial.

    Worker and engine deaths are tried once more on a fresh worker; each attempt is in the journal.

    Raises:
        PortInUse: the job asked for a port that somebody else has.
    """
    journal = tools.journal
    serving = ask.serving
    journal.event(
        "trial_started",
        trial=ask.trial_id,
        variant=ask.variant,
        purpose=ask.purpose,
        serving=serving.model_dump(mode="json"),
    )
    try:
        trial, attempts = attempt(
            tools,
            f"trial {ask.trial_id}",
            resources_for(plan, serving.devices),
            _measure_here,
            tools.without_pool(),
            plan,
            ask,
        )
        trial = trial.model_copy(update={"attempts": attempts})
    except PortInUse:
        raise
    except (WorkerDied, EngineError) as error:
        trial = Trial(
            id=ask.trial_id,
            number=ask.number,
            purpose=ask.purpose,
            variant=ask.variant,
            state="failed",
            model_digest=ask.model.digest,
            serving=serving,
            error=str(error),
            attempts=2,
        )
    journal.event("trial", trial=trial.model_dump(mode="json"))
    return trial


def must_have_run(trials: Sequence[Trial]) -> None:
    """Raise if not one of the trials got an answer from its engine.

    Raises:
        StageFailed: with the first trial's error.
    """
    if trials and all(trial.state == "failed" for trial in trials):
        raise StageFailed(
            f"the engine failed in all {len(trials)} trial(s); the first: {trials[0].error}"
        )


def _left_s(journal: Journal) -> float:
    """Seconds the job has left, 0 at the end: what was measured until then counts."""
    try:
        return journal.remaining_s()
    except BudgetExceeded:
        return 0.0


def _measure_here(tools: Tools, plan: Plan, ask: Ask) -> Trial:
    """In the worker: start a server, search the rate, stop the server."""
    job, journal = plan.job, tools.journal
    folder = journal.folder("trials", ask.trial_id)
    (folder / "serving.json").write_text(ask.serving.model_dump_json(indent=2) + "\n")
    search = rate_search(job.method, job.workload, job.slo, start_rps=ask.start_rps)

    def on_probe(probe: Probe, timings: Sequence[RequestTiming]) -> str:
        name = f"probe-{probe.number:02d}.jsonl"
        write_lines(folder / name, timing_rows(timings))
        kept = probe.model_copy(update={"raw": name})
        journal.event("probe", trial=ask.trial_id, probe=kept.model_dump(mode="json"))
        return name

    with tools.engine.serve(
        Path(ask.model.path),
        ask.serving,
        plan.sku.kind,
        vocab=plan.shape.vocab,
        log=folder / "engine.log",
        port=job.engine.port,
        start_timeout_s=job.engine.start_timeout_s,
        what=f"{job.engine.name} server of trial {ask.trial_id}",
        on_start=lambda group: journal.event("process_group", group=group.model_dump(mode="json")),
    ) as server:
        began = time.monotonic()
        rate = find_rate(
            search,
            tools.generator,
            server.endpoint,
            job.workload,
            job.slo,
            job.method,
            on_probe=on_probe,
            check=server.check,
            remaining_s=lambda: _left_s(journal),
        )
        measured = time.monotonic()
    return Trial(
        id=ask.trial_id,
        number=ask.number,
        purpose=ask.purpose,
        variant=ask.variant,
        state="complete",
        model_digest=ask.model.digest,
        serving=ask.serving,
        rate=rate,
        fitness=fitness(rate, ask.serving.devices, job.slo, job.tuner.slo_penalty_weight),
        startup_s=server.startup_s,
        measuring_s=measured - began,
        teardown_s=time.monotonic() - measured,
    )
