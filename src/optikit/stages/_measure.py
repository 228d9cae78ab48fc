"""The task that benchmark and tune share: one serving config on one fresh server, measured."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from optikit.adapters.jsonlog import engine_log_told, within
from optikit.core.fitness import fitness
from optikit.core.racing import Raced
from optikit.core.rate import rate_search
from optikit.core.retries import ATTEMPTS, Fate, cause_of, fate_of, pause_s
from optikit.core.spanids import span_now
from optikit.core.timings import Timings
from optikit.errors import BudgetExceeded, OptikitError, StageFailed
from optikit.journal import patiently, write_whole
from optikit.loadgen.find_rate import find_rate
from optikit.runners.base import Launch
from optikit.spec.candidate import ArtifactRef
from optikit.spec.engine_metrics import EngineMetrics
from optikit.spec.plan import Plan
from optikit.spec.record import Probe, Trial, Variant
from optikit.spec.serving import ServingConfig
from optikit.stages._scrape import Scraped
from optikit.stages.base import (
    Journal,
    Tools,
    attempt,
    attempt_failed,
    resources_for,
    set_aside,
    write_lines,
)

__all__ = [
    "Ask",
    "again",
    "failed",
    "launched",
    "measure",
    "measure_here",
    "must_have_run",
    "price_of",
    "settled",
]


@dataclass(frozen=True)
class Ask:
    """What to measure."""

    trial_id: str
    number: int
    purpose: Literal["benchmark", "tune", "finalist"]
    variant: Variant
    model: ArtifactRef
    serving: ServingConfig
    start_rps: float | None = None
    """Where the open loop begins; None: the search finds a start by itself."""
    must_beat_rps: float | None = None
    """Give up once this rate surely cannot be held."""
    certify: bool = True
    """False: an estimate is enough."""
    of: str | None = None
    """The trial whose configuration is measured again."""
    predicted_rps: float | None = None
    seed: int | None = None
    """Of the requests; None: the workload's."""


def launched(journal: Journal, ask: Ask) -> None:
    """Say in the journal that a trial begins."""
    journal.event(
        "trial_started",
        trial=ask.trial_id,
        variant=ask.variant,
        purpose=ask.purpose,
        serving=ask.serving.model_dump(mode="json"),
    )


def failed(ask: Ask, error: Exception, attempts: int) -> Trial:
    """The record of a trial whose engine or worker died."""
    return Trial(
        id=ask.trial_id,
        number=ask.number,
        purpose=ask.purpose,
        variant=ask.variant,
        state="failed",
        model_digest=ask.model.digest,
        serving=ask.serving,
        of=ask.of,
        predicted_rps=ask.predicted_rps,
        error=str(error),
        cause=cause_of(error),
        attempts=attempts,
    )


def measure(tools: Tools, plan: Plan, ask: Ask) -> Trial:
    """Measure one config in a worker of the stage's pool; a failure is a FAILED trial.

    Worker and engine deaths are tried once more on a fresh worker; each attempt is in the journal.

    Raises:
        OptikitError: what is no fault of the trial, such as a port that somebody else has.
    """
    launched(tools.journal, ask)
    try:
        trial, attempts = attempt(
            tools,
            f"trial {ask.trial_id}",
            resources_for(plan, ask.serving.devices),
            measure_here,
            tools.without_pool(),
            plan,
            ask,
        )
        trial = trial.model_copy(update={"attempts": attempts})
    except OptikitError as error:
        if fate_of(error, ATTEMPTS) is not Fate.TRIAL:
            raise
        trial = failed(ask, error, 1 if fate_of(error) is Fate.TRIAL else ATTEMPTS)
    tools.journal.event("trial", trial=trial.model_dump(mode="json"))
    return trial


def settled(
    journal: Journal, ask: Ask, answer: Trial | OptikitError, attempt: int, occupied_s: float
) -> Trial | None:
    """What a runner's answer makes of a trial, written down; None: it is worth another attempt.

    Raises:
        OptikitError: what is no fault of the trial, such as a port that somebody else has.
    """
    what = f"trial {ask.trial_id}"
    seconds = round(occupied_s, 3)
    journal.event("occupied", what=what, devices=ask.serving.devices, seconds=seconds)
    if isinstance(answer, OptikitError):
        fate = attempt_failed(journal, what, attempt, answer)
        if fate is Fate.RETRY:
            return None
        if fate is not Fate.TRIAL:
            raise answer
        trial = failed(ask, answer, attempt)
    else:
        trial = answer.model_copy(update={"attempts": attempt})
    journal.event("trial", trial=trial.model_dump(mode="json"))
    return trial


def again(launch: Launch, attempt: int) -> Launch:
    """The next attempt of a trial, after a pause that its worker makes: others need not wait.

    Args:
        attempt: number of the one that failed.
    """
    pause = pause_s(attempt, launch.trial_id)
    return replace(launch, task=_measure_later, args=(*launch.args[:3], pause))


def _measure_later(tools: Tools, plan: Plan, ask: Ask, seconds: float) -> Trial:
    time.sleep(seconds)
    return measure_here(tools, plan, ask)


def must_have_run(trials: Sequence[Trial]) -> None:
    """Raise if not one of the trials got an answer from its engine.

    Raises:
        StageFailed: with the first trial's error.
    """
    if trials and all(trial.state == "failed" for trial in trials):
        raise StageFailed(
            f"the engine failed in all {len(trials)} trial(s); the first: {trials[0].error}"
        )


def _left_s(journal: Journal, simulated: bool) -> float:
    """Seconds the job has left, 0 at the end: what was measured until then counts.

    Probes in virtual time cost the job next to nothing: for them only the end is a bound.
    """
    try:
        left = journal.remaining_s()
    except BudgetExceeded:
        return 0.0
    return math.inf if simulated else left


def measure_here(tools: Tools, plan: Plan, ask: Ask) -> Trial:
    """In the worker: start a server, search the rate, stop the server."""
    context, journal = tools.log, tools.journal
    if context is not None:
        events = list(journal.events())
        span, before = span_now(journal.job_id, events, trial=ask.trial_id)
        context = context.plus(trial=ask.trial_id, span_id=span, attempt=before + 1)
    with within(context):
        return _measured(tools, plan, ask)


def _measured(tools: Tools, plan: Plan, ask: Ask) -> Trial:
    job, journal = plan.job, tools.journal
    folder = journal.folder("trials", ask.trial_id)
    set_aside(folder)
    text = ask.serving.model_dump_json(indent=2) + "\n"
    patiently(partial(write_whole, folder / "serving.json", text), f"write to {folder}")
    patiently((folder / "engine.log").touch, f"write to {folder}")
    search = rate_search(
        job.method,
        job.workload,
        job.slo,
        start_rps=ask.start_rps,
        seed=ask.seed,
        max_num_seqs=plan.seats(ask.serving),
        trace=plan.trace,
        certify=ask.certify,
        must_beat_rps=ask.must_beat_rps,
    )

    def on_probe(scraped: Scraped, probe: Probe, timings: Timings) -> str:
        name = f"probe-{probe.number:02d}.jsonl"
        digest = write_lines(folder / name, timings.rows())
        kept = probe.model_copy(update={"raw": name})
        facts = kept.model_dump(mode="json")
        journal.event("probe", trial=ask.trial_id, probe=facts, raw_digest=digest)
        scraped.keep(probe.number)
        return name

    journal.event(
        "placed",
        trial=ask.trial_id,
        node=socket.gethostname(),
        devices=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    )
    log = folder / "engine.log"
    with (
        engine_log_told(log),
        tools.engine.serve(
            Path(ask.model.path),
            ask.serving,
            plan.sku.kind,
            vocab=plan.shape.vocab,
            log=log,
            port=job.engine.port,
            start_timeout_s=job.engine.start_timeout_s,
            what=f"{job.engine.name} server of trial {ask.trial_id}",
            on_start=lambda group: journal.event(
                "process_group", group=group.model_dump(mode="json")
            ),
        ) as server,
    ):
        facts = {"engine": job.engine.name, "startup_s": server.startup_s}
        journal.event("engine_ready", trial=ask.trial_id, **facts)
        scraped = Scraped(tools.generator, server.endpoint)
        began = scraped.clock()
        try:
            rate = find_rate(
                search,
                scraped,
                server.endpoint,
                job.workload,
                job.slo,
                job.method,
                trace=plan.trace,
                on_probe=partial(on_probe, scraped),
                check=server.check,
                remaining_s=lambda: _left_s(journal, plan.simulated),
            )
            measured, stopping = scraped.clock(), time.monotonic()
        finally:  # of an engine that died it may say why
            metrics = _keep(scraped, folder, journal, ask.trial_id)
    lost = isinstance(search, Raced) and search.lost is not None and rate.outcome != "infeasible"
    weight, devices = job.tuner.slo_penalty_weight, ask.serving.devices
    return Trial(
        id=ask.trial_id,
        number=ask.number,
        purpose=ask.purpose,
        variant=ask.variant,
        state="pruned" if lost else "complete",
        model_digest=ask.model.digest,
        serving=ask.serving,
        rate=rate,
        fitness=None if lost else fitness(rate, devices, job.slo, weight, price_of(plan)),
        of=ask.of,
        must_beat_rps=ask.must_beat_rps,
        predicted_rps=ask.predicted_rps,
        server=dict(server.says),
        engine_metrics=metrics,
        startup_s=server.startup_s,
        measuring_s=measured - began,
        teardown_s=time.monotonic() - stopping,
    )


def _keep(scraped: Scraped, folder: Path, journal: Journal, trial_id: str) -> EngineMetrics | None:
    """Write down what the server said of itself; each thing that does not fit is a note."""
    metrics = scraped.write(folder)
    if metrics is not None:
        facts = {"file": metrics.file, "raw_digest": metrics.digest}
        journal.event("scraped", trial=trial_id, **facts, notes=metrics.notes)
    return metrics


def price_of(plan: Plan) -> float:
    """Of one device-hour, where the objective is the cost; else 1."""
    compute = plan.job.compute
    return compute.prices[compute.sku] if plan.job.tuner.objective == "per_cost" else 1.0
