"""Compress: a recipe makes a candidate in a worker of its own; whole or not at all."""

from __future__ import annotations

import resource
import shutil
import time
from pathlib import Path

from optikit.core.calibration import choose_samples
from optikit.errors import OptikitError
from optikit.spec.plan import Plan
from optikit.spec.record import Candidate, CompressRecord, FetchRecord
from optikit.stages.base import Inputs, Tools, attempt, resources_for

__all__ = ["STAGE"]


class Compress:
    """One candidate a job."""

    name = "compress"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> CompressRecord:
        """Make the candidate.

        Raises:
            DatasetError: no text field, or fewer usable samples than asked.
            StageFailed: the recipe failed at every attempt.
        """
        (candidate, rows, skipped), attempts = attempt(
            tools,
            "compression",
            resources_for(plan, plan.sku.devices),
            _compress_here,
            tools.without_pool(),
            plan,
            inputs.fetched(),
        )
        if skipped:
            left_out = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
            tools.journal.event("note", text=f"dataset: {rows} rows read, left out: {left_out}")
        return CompressRecord(
            inputs_digest=inputs_digest,
            attempts=attempts,
            candidates=(candidate,),
            rows_read=rows,
            rows_skipped=skipped,
        )


def _compress_here(
    tools: Tools, plan: Plan, fetched: FetchRecord
) -> tuple[Candidate, int, dict[str, int]]:
    """In the worker: sample, compress under a temporary name, move into the store."""
    recipe, params = tools.recipe, plan.job.flow_params
    if recipe is None:
        raise OptikitError("the compress stage needs a recipe; the plan has none")
    texts: list[str] = []
    sample_digest, rows, skipped = None, 0, {}
    if plan.calibration_samples and fetched.dataset is not None:
        field = plan.job.dataset.text_field if plan.job.dataset else None
        found = tools.read_texts(Path(fetched.dataset.path), field)
        rows, skipped = found.rows, found.skipped
        sample = choose_samples(found.texts, plan.calibration_samples, params.calibration_seed)
        texts, sample_digest = list(sample.texts), sample.digest
    candidate_id = f"c0-{recipe.facts.name}"
    out = tools.journal.folder("candidates") / candidate_id
    shutil.rmtree(out, ignore_errors=True)  # of an attempt that died
    began = time.monotonic()
    recipe.compress(
        Path(fetched.model.path),
        out,
        texts,
        max_tokens=params.calibration_tokens,
        seed=params.calibration_seed,
    )
    wall_s = time.monotonic() - began
    candidate = Candidate(
        id=candidate_id,
        recipe=recipe.facts.name,
        model=tools.models.take(out, move=True),
        wall_s=round(wall_s, 3),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        samples=len(texts),
        sample_digest=sample_digest,
        sample_seed=params.calibration_seed,
    )
    tools.journal.event("candidate", candidate=candidate.model_dump(mode="json"))
    return candidate, rows, skipped


STAGE = Compress()
