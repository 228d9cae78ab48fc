"""A stage: tools, inputs and plan in, one record out. It knows protocols, never a plug-in."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from optikit.adapters.jsonlog import within
from optikit.core.candidates import candidates_at_once, planned_candidates
from optikit.core.logs import LogContext
from optikit.core.retries import ATTEMPTS, Fate, cause_of, fate_of, pause_s
from optikit.engines.base import Engine
from optikit.errors import BudgetExceeded, OptikitError
from optikit.evaluators.base import Evaluator, LogprobReader
from optikit.journal import patiently, write_whole
from optikit.loadgen.base import LoadGenerator
from optikit.pools.base import Pool, Resources
from optikit.recipes.base import Recipe
from optikit.runners.base import Runner
from optikit.spec.candidate import ArtifactRef, Candidate
from optikit.spec.plan import Plan
from optikit.spec.record import (
    BenchmarkRecord,
    CompressRecord,
    EvaluateRecord,
    FetchRecord,
    StageRecord,
    Trial,
    TuneRecord,
    Variant,
)
from optikit.spec.serving import ServingConfig
from optikit.stores.base import BaselineStore, ModelStore, ReadTexts, RemoteFiles
from optikit.trackers.base import Tracker
from optikit.tuners.base import Tuner

__all__ = [
    "Inputs",
    "Journal",
    "Stage",
    "Tools",
    "attempt",
    "attempt_failed",
    "default_serving",
    "resources_for",
    "set_aside",
    "stage_devices",
    "stage_resources",
    "variants",
    "write_lines",
]

T = TypeVar("T")
LAST_WORDS_S = 30.0
"""A rate search that ran out of time answers with what it knows; it gets this long to do so."""


class Journal(Protocol):
    """The job's append-only history, as far as a stage and its workers see it. It pickles."""

    @property
    def job_id(self) -> str:
        """The job."""

    @property
    def home(self) -> Path:
        """OptiKIT's home folder."""

    def event(self, kind: str, **facts: Any) -> None:
        """Append one line: facts are plain JSON values."""

    def folder(self, *parts: str) -> Path:
        """A folder of the job, made if it is missing."""

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Everything so far, oldest first."""

    def trials(self) -> list[Trial]:
        """Trials that an earlier run of this job ended, oldest first."""

    def earlier(self) -> list[tuple[Plan, list[Trial]]]:
        """Plans and trials of other jobs that measured, newest first."""

    def candidates(self, inputs_digest: str) -> list[Candidate]:
        """Candidates that an earlier run of this job made from the same inputs."""

    def remaining_s(self) -> float:
        """Seconds of the job's wall-time budget that are left.

        Raises:
            BudgetExceeded: none are.
        """


@dataclass(frozen=True)
class Tools:
    """Everything a stage may use; objects, made from names by the runner."""

    journal: Journal
    pool: Pool
    engine: Engine
    generator: LoadGenerator
    evaluator: Evaluator
    logprobs: LogprobReader
    recipes: Mapping[str, Recipe]
    """By name; those that the plan tries."""
    tuner: Tuner
    runner: Runner
    models: ModelStore
    remote: RemoteFiles
    baselines: BaselineStore
    read_texts: ReadTexts
    tracker: Tracker
    log: LogContext | None = None
    """Where a worker's log records come from; None: logs are text."""

    def without_pool(self) -> Tools:
        """A copy that pickles, for a task that runs in a worker."""
        return replace(self, pool=None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Inputs:
    """Records of the stages before; None where the flow has no such stage."""

    fetch: FetchRecord | None = None
    compress: CompressRecord | None = None
    evaluate: EvaluateRecord | None = None
    benchmark: BenchmarkRecord | None = None
    tune: TuneRecord | None = None

    def plus(self, record: StageRecord) -> Inputs:
        """These inputs and one more record."""
        known = {field.name for field in fields(self)}
        return replace(self, **{record.stage: record} if record.stage in known else {})  # type: ignore[arg-type]

    def fetched(self) -> FetchRecord:
        """The fetch record; every flow begins with it."""
        if self.fetch is None:
            raise OptikitError("this stage needs what fetch leaves; the flow must begin with it")
        return self.fetch

    def chosen(self) -> Candidate | None:
        """The candidate that goes on: the gate's choice, or the only one where there is no gate."""
        made = self.compress.candidates if self.compress else ()
        candidates = [c for c in made if c.model is not None]
        if self.evaluate is None:
            return candidates[0] if candidates else None
        return next((c for c in candidates if c.id == self.evaluate.chosen), None)

    def ships(self) -> Variant:
        """The variant that goes out."""
        return "compressed" if self.chosen() is not None else "baseline"

    def model_of(self, variant: Variant) -> ArtifactRef:
        """The checkpoint behind a variant."""
        candidate = self.chosen()
        if variant == "baseline" or candidate is None or candidate.model is None:
            return self.fetched().model
        return candidate.model


class Stage(Protocol):
    """One of the six."""

    name: str

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> StageRecord:
        """Do the stage's work; blocks until it is done."""


def resources_for(plan: Plan, devices: int) -> Resources:
    """What a task that uses ``devices`` devices of the job's SKU occupies; on paper: none."""
    if plan.sku.kind == "cpu" or not plan.holds_devices:
        return Resources(cpus=1.0)
    return Resources(
        cpus=plan.sku.cpus / plan.sku.devices * devices,
        gpus=devices,
        accelerator=plan.sku.accelerator,
    )


def stage_devices(stage: str, plan: Plan) -> int:
    """Devices that a stage holds; on paper: none.

    Candidates are made side by side, one a device; a model is scored and benchmarked on the devices
    of its default configuration; trials are packed onto the whole SKU.
    """
    if not plan.holds_devices or stage not in ("compress", "evaluate", "benchmark", "tune"):
        return 0
    if stage == "tune":
        return plan.sku.devices
    if stage == "compress":
        most = candidates_at_once(plan.sku, plan.baseline_weight_bytes)
        return min(most, len(planned_candidates(plan)))
    served = [option.serving for option in plan.options]
    served += [plan.serving, *([plan.baseline_serving] if plan.baseline_serving else [])]
    return max(serving.devices for serving in served)


def stage_resources(stage: str, plan: Plan) -> Resources | None:
    """What a stage holds from its first task to its end; None: nothing that others would miss."""
    devices, size = stage_devices(stage, plan), plan.job.compute.stages.get(stage)
    memory = int(size.memory_gib * 2**30) if size and size.memory_gib else 0
    if devices == 0:
        return Resources(cpus=1.0, memory_bytes=memory) if memory else None
    if plan.sku.kind == "cpu":
        return Resources(cpus=max(1.0, plan.sku.cpus), memory_bytes=memory)
    return resources_for(plan, devices).model_copy(update={"memory_bytes": memory})


def variants(plan: Plan, inputs: Inputs) -> tuple[Variant, ...]:
    """What is measured: the shipped variant, before it the baseline where corners are asked for."""
    ships = inputs.ships()
    if plan.job.flow_params.ablation and ships != "baseline":
        return ("baseline", ships)
    return (ships,)


def default_serving(plan: Plan, variant: Variant) -> ServingConfig:
    """The configuration a variant is served with before tuning."""
    if variant == "baseline" and plan.baseline_serving is not None:
        return plan.baseline_serving
    return plan.serving


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """One JSON object a line, whole or not at all; a disk that is full is waited for.

    Returns:
        The file's SHA-256, ``sha256:`` first.

    Raises:
        DiskFull, ArchiveError: the disk stayed full, or read-only.
    """
    text = "".join(json.dumps(row) + "\n" for row in rows)
    patiently(partial(write_whole, path, text), f"write {path}")
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def set_aside(folder: Path) -> None:
    """Put what an earlier attempt left in a folder, its log with it, into ``attempt-N`` below."""
    left = sorted(path for path in folder.iterdir() if path.is_file())
    if not left:
        return
    number = 1 + sum(1 for path in folder.glob("attempt-*") if path.is_dir())
    aside = folder / f"attempt-{number}"

    def move() -> None:
        aside.mkdir(exist_ok=True)
        for path in left:
            if path.exists():
                path.rename(aside / path.name)

    patiently(move, f"write to {folder}")


def attempt_failed(journal: Journal, what: str, number: int, error: OptikitError) -> Fate:
    """Write down that an attempt failed, and say what follows; see :func:`core.retries.fate_of`.

    What gives the whole job up, or only ended the work, is no failed attempt: its stage says it.
    """
    fate = fate_of(error, number)
    if fate in (Fate.RETRY, Fate.TRIAL):
        journal.event(
            "attempt_failed",
            what=what,
            attempt=number,
            error=str(error),
            cause=cause_of(error),
            fate=fate.value,
        )
    return fate


@dataclass(frozen=True)
class _Logged:
    """A task whose log records say what it is part of."""

    context: LogContext
    task: Callable[..., Any]

    @property
    def __name__(self) -> str:
        return self.task.__name__

    def __call__(self, *args: Any) -> Any:
        with within(self.context):
            return self.task(*args)


def attempt(
    tools: Tools,
    what: str,
    resources: Resources,
    task: Callable[..., T],
    *args: Any,
    bounded: bool = True,
) -> tuple[T, int]:
    """Run a task in the stage's pool, again in a new worker when worker or engine died.

    Device-seconds of every attempt are written down, however it ends. Between two attempts lies a
    pause in which nothing is held.

    Args:
        bounded: False: the task may run although the job's budget is used up.

    Returns:
        The task's answer and the number of the attempt that gave it.

    Raises:
        BudgetExceeded: the job's time ended before the task did; closing the pool ends it.
        OptikitError: the last attempt's error; every failed attempt is in the journal.
    """
    for number in range(1, ATTEMPTS + 1):
        left_s = tools.journal.remaining_s() + LAST_WORDS_S if bounded else None
        began = time.monotonic()
        try:
            context = tools.log and tools.log.plus(attempt=number)
            mine = _Logged(context, task) if context else task
            return tools.pool.submit(mine, *args, resources=resources).result(left_s), number
        except TimeoutError:
            raise BudgetExceeded(
                f"budget.wall_time_s ended while {what} ran; raise it in the spec and submit again"
            ) from None
        except OptikitError as error:
            if attempt_failed(tools.journal, what, number, error) is not Fate.RETRY:
                raise
        finally:
            tools.journal.event(
                "occupied",
                what=what,
                devices=max(1, resources.gpus),
                seconds=round(time.monotonic() - began, 3),
            )
        time.sleep(pause_s(number, what))
    raise AssertionError("unreachable: the last attempt returns or raises")
