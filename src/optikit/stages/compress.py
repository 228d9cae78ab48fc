"""Compress: each recipe makes its candidates, each in a worker of its own; whole or not at all."""

from __future__ import annotations

import errno
import resource
import shutil
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from optikit.core.calibration import choose_samples
from optikit.core.candidates import PlannedCandidate, candidates_at_once, planned_candidates
from optikit.errors import (
    BudgetExceeded,
    Cancelled,
    DatasetError,
    DiskFull,
    OptikitError,
    StageFailed,
)
from optikit.spec.candidate import ArtifactRef, Candidate, DatasetFacts
from optikit.spec.permit import Permit
from optikit.spec.plan import Plan
from optikit.spec.record import CompressRecord, FetchRecord
from optikit.spec.simulated import SimulatedModel
from optikit.stages._room import room_for_candidates
from optikit.stages._simulated import keep
from optikit.stages._texts import texts_of
from optikit.stages.base import Inputs, Tools, attempt, resources_for

__all__ = ["STAGE"]

GIB = 1024**3
_NOT_THE_CANDIDATE = (BudgetExceeded, Cancelled, DatasetError, DiskFull)
"""Errors that the next candidate would meet too."""


class Compress:
    """Candidates side by side, as many as the SKU has devices; on a CPU one after the other.

    A simulated candidate is described by the recipe's facts, nothing is made.
    """

    name = "compress"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> CompressRecord:
        """Make the candidates that an earlier run of the job has not made.

        One that cannot be made is a record with its error, as long as another one was made or the
        uncompressed model may ship instead.

        Raises:
            DatasetError: no text field, or fewer usable samples than asked.
            DiskFull: a checkpoint found no room, or none can find some.
            StageFailed: no recipe gave a candidate; says why for each.
        """
        planned = planned_candidates(plan)
        if plan.simulated:
            described = tuple(_described(tools, plan, one) for one in planned)
            return CompressRecord(inputs_digest=inputs_digest, candidates=described)
        known = {c.id: c for c in tools.journal.candidates(inputs_digest) if _is_there(c)}
        falls_back = plan.job.fallback == "baseline"
        alone = len(planned) == 1 and not falls_back
        task = partial(_make, tools, plan, inputs.fetched(), inputs_digest, alone)
        missing = [one for one in planned if one.id not in known]
        room_for_candidates(tools, plan, missing, inputs.fetched().model)
        for candidate in _side_by_side(plan, missing, task):
            known[candidate.id] = candidate
        candidates = tuple(known[one.id] for one in planned)
        if not falls_back and all(candidate.model is None for candidate in candidates):
            raise StageFailed("; ".join(f"{c.id}: {c.error}" for c in candidates))
        facts = next((c.dataset for c in candidates if c.dataset), None)
        if facts and (facts.skipped or facts.cut):
            tools.journal.event("note", text=_rows(facts, plan))
        return CompressRecord(
            inputs_digest=inputs_digest,
            attempts=max(candidate.attempts for candidate in candidates),
            candidates=candidates,
            dataset=facts,
        )


def _side_by_side(
    plan: Plan, planned: list[PlannedCandidate], task: Callable[[PlannedCandidate], Candidate]
) -> list[Candidate]:
    """Each task's answer in order; the first that raises ends the rest with the stage's pool."""
    at_once = min(candidates_at_once(plan.sku, plan.baseline_weight_bytes), len(planned))
    if at_once <= 1:
        return [task(one) for one in planned]
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="optikit-compress")
    try:
        futures = [threads.submit(task, one) for one in planned]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done():
                future.result()  # raises what ended the wait
        return [future.result() for future in futures]
    finally:
        # not waited for: an error or a cancel closes the pool, which ends what still runs
        threads.shutdown(wait=False, cancel_futures=True)


def _is_there(candidate: Candidate) -> bool:
    """Whether an earlier run's candidate can be used again; one that failed is tried again."""
    return candidate.model is not None and Path(candidate.model.path).is_dir()


def _rows(facts: DatasetFacts, plan: Plan) -> str:
    left_out = ", ".join(f"{count} {reason}" for reason, count in facts.skipped.items())
    longest = plan.job.flow_params.calibration_tokens
    return (
        f"dataset: {facts.rows} rows read, {facts.usable} usable; left out: {left_out or 'none'}; "
        f"{facts.cut} longer than {longest} tokens, cut"
    )


def _described(tools: Tools, plan: Plan, planned: PlannedCandidate) -> Candidate:
    """A candidate of a simulated job."""
    recipe = planned.option.recipe
    described = SimulatedModel(shape=plan.shape, recipe=recipe, sku=plan.sku)
    candidate = Candidate(
        id=planned.id,
        recipe=planned.recipe,
        model=keep(tools.journal.home, described),
        seed=planned.seed,
    )
    tools.journal.event("candidate", candidate=candidate.model_dump(mode="json"))
    return candidate


def _make(
    tools: Tools,
    plan: Plan,
    fetched: FetchRecord,
    inputs_digest: str,
    alone: bool,
    planned: PlannedCandidate,
) -> Candidate:
    """One candidate, made in a worker; its failure is a record unless nothing else could ship."""
    try:
        candidate, attempts = attempt(
            tools,
            f"compression {planned.id}",
            resources_for(plan, 1),
            _compress_here,
            tools.without_pool(),
            plan,
            fetched,
            planned,
        )
        candidate = candidate.model_copy(update={"attempts": attempts})
    except _NOT_THE_CANDIDATE:
        raise
    except OptikitError as error:
        if alone:
            raise
        candidate = Candidate(
            id=planned.id, recipe=planned.recipe, model=None, error=str(error), seed=planned.seed
        )
        tools.journal.event("note", text=f"candidate {planned.id} was not made: {error}")
    tools.journal.event(
        "candidate",
        candidate=candidate.model_dump(mode="json"),
        inputs_digest=inputs_digest,
    )
    return candidate


def _compress_here(
    tools: Tools, plan: Plan, fetched: FetchRecord, planned: PlannedCandidate
) -> Candidate:
    """In the worker: sample, compress under a temporary name, move into the store."""
    params = plan.job.flow_params
    recipe = tools.recipes[planned.recipe]
    samples: tuple[str, ...] = ()
    digest, facts = None, None
    if planned.option.calibration_samples:
        texts = texts_of(tools, plan, fetched)
        if texts is not None:
            facts = texts.facts
            sample = choose_samples(
                texts.calibration,
                planned.option.calibration_samples,
                planned.seed,
                sampling=params.sampling,
                statistics=texts.statistics,
            )
            samples, digest = sample.texts, sample.digest
    out = tools.journal.folder("candidates") / planned.id
    shutil.rmtree(out, ignore_errors=True)  # of an attempt that died
    bound = params.compression_memory_gib
    began = time.monotonic()
    done = recipe.compress(
        Path(fetched.model.path),
        out,
        samples,
        max_tokens=params.calibration_tokens,
        seed=planned.seed,
        memory_bytes=int(bound * GIB) if bound else None,
        **({"code": True} if plan.permit.code else {}),
    )
    return Candidate(
        id=planned.id,
        recipe=planned.recipe,
        model=_taken(tools, out, plan.permit),
        wall_s=round(time.monotonic() - began, 3),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        device_peak_bytes=done.device_peak_bytes,
        sampling=params.sampling,
        samples=len(samples),
        sample_digest=digest,
        dataset=facts,
        seed=planned.seed,
        layer_errors=done.layer_errors,
    )


def _taken(tools: Tools, out: Path, permit: Permit) -> ArtifactRef:
    """The checkpoint in the store, or nothing of it anywhere."""
    try:
        return tools.models.take(out, move=True, permit=permit)
    except OSError as error:
        shutil.rmtree(out, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no room to keep the checkpoint under {tools.journal.home}: {error}. Free some "
                "space, or set OPTIKIT_HOME to a larger disk; compression starts again"
            ) from None
        raise


STAGE = Compress()
