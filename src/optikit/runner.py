"""Walks a plan through the pools; the one place where names become objects.

``python -m optikit.runner HOME JOB_ID --pool ray`` is the driver process of a job: it owns the
local Ray, writes every state to the journal, and leaves no process behind on any way out.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import FrameType

from optikit.adapters.jsonlog import asked_for, log_as_asked, tell_exception, within
from optikit.adapters.leftovers import sweep
from optikit.adapters.output import redact_output
from optikit.admission import admitted
from optikit.archive import JobArchive, digest_of
from optikit.core.logs import LogContext
from optikit.core.outcome import Outcome, after_evaluate, final
from optikit.core.spanids import span_now
from optikit.core.spans import trace_id_of
from optikit.engines import ENGINES
from optikit.errors import BadInput, Cancelled, OptikitError
from optikit.evaluators import EVALUATORS
from optikit.evaluators.divergence import DIVERGENCE
from optikit.housekeeping import bound_cache
from optikit.index.telling import tell_index
from optikit.loadgen import GENERATORS
from optikit.pools import POOLS
from optikit.pools.base import Pools
from optikit.recipes import RECIPES
from optikit.runners import RUNNERS
from optikit.spec.plan import Plan
from optikit.spec.queue import Need
from optikit.spec.record import CompressRecord, EvaluateRecord, StageRecord
from optikit.spec.versions import SCHEMAS
from optikit.stages import STAGES
from optikit.stages.base import (
    Inputs,
    Tools,
    resources_for,
    stage_devices,
    stage_resources,
)
from optikit.stores.baselines import FileBaselines
from optikit.stores.datasets import read_texts
from optikit.stores.file import FileModelStore
from optikit.stores.remote import RemoteStore
from optikit.traces import tell_trace
from optikit.trackers import TRACKERS
from optikit.tuners import TUNERS

__all__ = ["drive", "walk"]

EVALUATOR = "lm_eval"
GENERATORS_BY_KIND = {False: "openai", True: "simulated"}
"""Load generator for a real server and for one on paper."""
TRACKER = "mlflow"
_RAY_NODE = re.compile(r"[0-9a-f]{56}")
"""An id of Ray's; a node that a site named by hand is only counted."""


def tools_for(plan: Plan, archive: JobArchive, pools: Pools, tracker: str = TRACKER) -> Tools:
    """The objects behind a plan's names, with a pool that must be replaced a stage."""
    engine = ENGINES.load(plan.job.engine.name)
    return Tools(
        journal=archive,
        pool=None,  # type: ignore[arg-type]  # each stage opens its own
        engine=engine,
        generator=GENERATORS.load(GENERATORS_BY_KIND[engine.facts.simulated]),
        evaluator=EVALUATORS.load(EVALUATOR),
        logprobs=DIVERGENCE,
        recipes={o.recipe.name: RECIPES.load(o.recipe.name) for o in plan.options if o.recipe},
        tuner=TUNERS.load(plan.job.tuner.name),
        runner=RUNNERS.load(plan.job.tuner.runner),
        models=FileModelStore(archive.home),
        remote=RemoteStore(archive.home, make_room=partial(bound_cache, archive)),
        baselines=FileBaselines(archive.home),
        read_texts=read_texts,
        tracker=TRACKERS.load(tracker),
    )


def walk(plan: Plan, archive: JobArchive, tools: Tools, pools: Pools) -> Outcome:
    """Run the plan's stages, each in a pool of its own; skip what is recorded already.

    A stage is skipped when its record was made from the same job, engine and earlier records.
    """
    inputs = Inputs()
    past = archive.records()
    previous: list[StageRecord] = []
    for name in plan.flow.stages:
        digest = digest_of(name, plan.job, tools.engine.version(), *previous)
        record = past.get(name)
        if record is None or record.inputs_digest != digest:
            record = _run_stage(name, plan, archive, tools, pools, inputs, digest)
        else:
            archive.event("stage", stage=name, state="skipped", seconds=record.seconds)
        previous.append(record)
        inputs = inputs.plus(record)
        if isinstance(record, EvaluateRecord):
            ended = after_evaluate(plan, record)
            if ended is not None:
                return ended
        chosen = inputs.chosen()
        if chosen is not None and isinstance(record, CompressRecord | EvaluateRecord):
            plan = plan.going_on(chosen.recipe)
    return final(plan, inputs.evaluate, inputs.benchmark, inputs.tune)


def _run_stage(
    name: str,
    plan: Plan,
    archive: JobArchive,
    tools: Tools,
    pools: Pools,
    inputs: Inputs,
    digest: str,
) -> StageRecord:
    if name != "publish":  # what was measured ships, also after the budget's end
        archive.remaining_s()
    began = time.monotonic()
    try:
        with _admitted(name, plan, archive) as node:
            archive.event("stage", stage=name, state="running")
            began = time.monotonic()
            record = _in_a_pool(name, plan, archive, tools, pools, inputs, digest, node)
    except BaseException as error:
        archive.event(
            "stage",
            stage=name,
            state="cancelled" if isinstance(error, Cancelled | KeyboardInterrupt) else "failed",
            seconds=time.monotonic() - began,
            error=str(error),
        )
        raise
    record = record.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
    archive.commit(record)
    archive.event("stage", stage=name, state="done", seconds=record.seconds)
    return record


def _in_a_pool(
    name: str,
    plan: Plan,
    archive: JobArchive,
    tools: Tools,
    pools: Pools,
    inputs: Inputs,
    digest: str,
    node: str | None,
) -> StageRecord:
    """The stage in a pool of its own; that all it held is back is proven and written down."""
    reserve = stage_resources(name, plan)
    if name == "tune" and tools.runner.pool is not None:
        reserve = None  # such a runner holds what each trial needs by itself
    if reserve is not None and node is not None and _RAY_NODE.fullmatch(node):
        reserve = reserve.model_copy(update={"node": node})
    pool = None
    try:
        size = plan.job.compute.stages.get(name)
        workers = size.workers if size else None
        log = _stage_log(tools, archive, name)
        with within(log), pools.open(name, reserve, partial(_sweep, archive), workers) as pool:
            mine = replace(tools, pool=pool, log=log)
            return STAGES.load(name).run(mine, inputs, plan, digest)
    finally:
        if pool is not None:
            archive.event("teardown", stage=name, **asdict(pool.closed))


def _job_log(archive: JobArchive) -> LogContext | None:
    """Where the driver's log records come from; None: logs are text.

    Raises:
        BadInput: they are to be something else.
    """
    if not asked_for():
        return None
    job_id = archive.job_id
    span, _ = span_now(job_id, list(archive.events()))
    return LogContext().plus(job=job_id, trace_id=trace_id_of(job_id), span_id=span)


def _stage_log(tools: Tools, archive: JobArchive, name: str) -> LogContext | None:
    if tools.log is None:
        return None
    span, _ = span_now(archive.job_id, list(archive.events()), stage=name)
    return tools.log.plus(stage=name, span_id=span)


@contextlib.contextmanager
def _admitted(name: str, plan: Plan, archive: JobArchive) -> Iterator[str | None]:
    """Where the job stands in a queue: wait until its stage may hold devices; yields the node."""
    ticket = archive.ticket()
    devices = stage_devices(name, plan)
    if ticket is None or devices == 0:
        yield None
        return
    need = Need(
        key=f"{archive.job_id}/{name}-{secrets.token_hex(4)}",
        team=ticket.team,
        kind=plan.sku.accelerator or plan.sku.kind,
        devices=devices,
        since_s=ticket.since_s,
        priority=ticket.priority,
        expected_s=plan.stage_estimates_s.get(name),
        bound_s=archive.remaining_s(),
    )
    with admitted(archive, need) as node:
        yield node


def _sweep(archive: JobArchive) -> tuple[list[str], list[str]]:
    """End on this node what the job's workers left, and see what is still held."""
    return sweep(archive.groups())


def reap(archive: JobArchive) -> list[str]:
    """End every process group of the job that still lives; says which did."""
    return sweep(archive.groups(), patience_s=0.0)[0]


def drive(
    archive: JobArchive, pools: Pools, tracker: str = TRACKER, after: int | None = None
) -> int:
    """Run a job to its end and say in the journal how it ended; the exit code.

    Args:
        after: as ``JobArchive.lock_driver``'s.

    Raises:
        ArchiveError: another driver has the job, or had it since; nothing was done.
    """
    lock = archive.lock_driver(after=after)
    state, code, message, verdict = "failed", 1, "", None
    told = contextlib.ExitStack()
    try:
        with _stops_on_signal():
            cancelled = archive.cancel_asked()
            begun = {"pid": os.getpid(), "pool": pools.name, "schemas": SCHEMAS}
            archive.event("state", state="running", **begun)
            if cancelled:
                raise Cancelled("cancelled before it began")
            _after_a_dead_driver(archive)
            plan = archive.plan()
            log = _job_log(archive)
            tools = replace(tools_for(plan, archive, pools, tracker), log=log)
            told.enter_context(within(log))
            with pools.session(resources_for(plan, plan.sku.devices)):
                outcome = walk(plan, archive, tools, pools)
            state, code = outcome.state, outcome.exit_code
            message, verdict = outcome.message, outcome.verdict
    except (Cancelled, KeyboardInterrupt):
        state, code, message = "cancelled", Cancelled.exit_code, "cancelled"
    except OptikitError as error:
        code, message = error.exit_code, str(error)
        state = "rejected" if isinstance(error, BadInput) else "failed"
        tell_exception("the job ends")
    except Exception as error:
        # a stranger's failure becomes a record; the log has the whole of it
        message = f"{type(error).__name__}: {error} (see {archive.driver_log})"
        tell_exception("the job ends")
    finally:
        with contextlib.suppress(OptikitError, OSError):
            reap(archive)
        archive.event("state", state=state, exit_code=code, message=message, verdict=verdict)
        os.close(lock)
        _tell(archive)
        told.close()
    return code


def _tell(archive: JobArchive) -> None:
    """The job has its end already: whatever happens here is its log's alone."""
    for tell, not_done in (
        (tell_trace, "the job's trace was not sent"),
        (tell_index, "the job is not in the index"),
    ):
        try:
            tell(archive)
        except Exception:
            tell_exception(not_done)


def _after_a_dead_driver(archive: JobArchive) -> None:
    """End what an earlier driver left when it was killed, and give its places back."""
    if left := reap(archive):
        archive.event("reaped", groups=left)
    for key, ask in archive.asks().items():
        if ask.left_s is None:
            archive.event("stage_left", key=key)


@contextlib.contextmanager
def _stops_on_signal() -> Iterator[None]:
    """SIGTERM and SIGINT raise Cancelled once; the way out is then walked undisturbed."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise Cancelled(f"stopped by signal {signal.Signals(number).name}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def main(argv: list[str]) -> int:
    """Entry of the driver process."""
    parser = argparse.ArgumentParser(prog="optikit.runner")
    parser.add_argument("home", type=Path)
    parser.add_argument("job_id")
    parser.add_argument("--pool", default="ray")
    parser.add_argument("--tracker", default=TRACKER)
    parser.add_argument("--after", type=int, help="words on the job's state that were read")
    args = parser.parse_args(argv)
    faulthandler.enable()
    redact_output()
    log_as_asked()
    archive = JobArchive(args.home, args.job_id)
    return drive(archive, POOLS.load(args.pool), args.tracker, args.after)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
