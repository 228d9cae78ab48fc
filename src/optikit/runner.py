"""Walks a plan through the pools; the one place where names become objects.

``python -m optikit.runner HOME JOB_ID --pool ray`` is the driver process of a job: it owns the
local Ray, writes every state to the journal, and leaves no process behind on any way out.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

from optikit.adapters.output import redact_output
from optikit.adapters.process import end_group, members
from optikit.archive import JobArchive, digest_of
from optikit.core.outcome import Outcome, after_evaluate, final
from optikit.engines import ENGINES
from optikit.errors import BadInput, Cancelled, OptikitError
from optikit.evaluators import EVALUATORS
from optikit.evaluators.divergence import DIVERGENCE
from optikit.loadgen import GENERATORS
from optikit.pools import POOLS
from optikit.pools.base import Pools
from optikit.recipes import RECIPES
from optikit.runners import RUNNERS
from optikit.spec.plan import Plan
from optikit.spec.record import CompressRecord, EvaluateRecord, StageRecord
from optikit.stages import STAGES
from optikit.stages.base import Inputs, Tools, resources_for
from optikit.stores.baselines import FileBaselines
from optikit.stores.datasets import read_texts
from optikit.stores.file import FileModelStore
from optikit.trackers import TRACKERS
from optikit.tuners import TUNERS

__all__ = ["drive", "walk"]

EVALUATOR = "lm_eval"
GENERATORS_BY_KIND = {False: "openai", True: "simulated"}
"""Load generator for a real server and for one on paper."""
TRACKER = "mlflow"


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
    archive.event("stage", stage=name, state="running")
    began = time.monotonic()
    try:
        with pools.open(name) as pool:
            record = STAGES.load(name).run(replace(tools, pool=pool), inputs, plan, digest)
    except BaseException as error:
        archive.event(
            "stage",
            stage=name,
            state="cancelled" if isinstance(error, Cancelled | KeyboardInterrupt) else "failed",
            seconds=time.monotonic() - began,
            error=str(error),
        )
        raise
    finally:
        left = reap(archive)
        if left:
            archive.event("reaped", stage=name, groups=left)
    record = record.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
    archive.commit(record)
    archive.event("stage", stage=name, state="done", seconds=record.seconds)
    return record


def reap(archive: JobArchive) -> list[str]:
    """End every process group of the job that still lives; says which did."""
    left = [group for group in archive.groups() if members(group)]
    for group in left:
        end_group(group, grace_s=2.0)
    return [group.what for group in left]


def drive(archive: JobArchive, pools: Pools, tracker: str = TRACKER) -> int:
    """Run a job to its end and say in the journal how it ended; the exit code."""
    lock = archive.lock_driver()
    state, code, message, verdict = "failed", 1, "", None
    try:
        with _stops_on_signal():
            cancelled = archive.cancel_asked()
            archive.event("state", state="running", pid=os.getpid(), pool=pools.name)
            if cancelled:
                raise Cancelled("cancelled before it began")
            plan = archive.plan()
            tools = tools_for(plan, archive, pools, tracker)
            with pools.session(resources_for(plan, plan.sku.devices)):
                outcome = walk(plan, archive, tools, pools)
            state, code = outcome.state, outcome.exit_code
            message, verdict = outcome.message, outcome.verdict
    except (Cancelled, KeyboardInterrupt):
        state, code, message = "cancelled", Cancelled.exit_code, "cancelled"
    except OptikitError as error:
        code, message = error.exit_code, str(error)
        state = "rejected" if isinstance(error, BadInput) else "failed"
        traceback.print_exc()
    except Exception as error:
        # a stranger's failure becomes a record; the log has the whole of it
        message = f"{type(error).__name__}: {error} (see {archive.driver_log})"
        traceback.print_exc()
    finally:
        with contextlib.suppress(OptikitError, OSError):
            reap(archive)
        archive.event("state", state=state, exit_code=code, message=message, verdict=verdict)
        os.close(lock)
    return code


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
    args = parser.parse_args(argv)
    faulthandler.enable()
    redact_output()
    return drive(JobArchive(args.home, args.job_id), POOLS.load(args.pool), args.tracker)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
