"""Which candidates a job makes, and which of them goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optikit.core.steptimes import roofline
from optikit.errors import DoesNotFit, OptikitError
from optikit.spec.candidate import Candidate
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Option, Plan
from optikit.spec.quality import QualityVerdict
from optikit.spec.sku import SkuFacts

__all__ = [
    "Choice",
    "PlannedCandidate",
    "candidates_at_once",
    "candidates_of",
    "choose",
    "planned_candidates",
    "predicted_request_s",
]

BATCH = 32
"""Requests in flight at which recipes are compared."""


@dataclass(frozen=True)
class PlannedCandidate:
    """A candidate before it is made."""

    id: str
    option: Option
    seed: int

    @property
    def recipe(self) -> str:
        """Its name."""
        if self.option.recipe is None:
            raise OptikitError("the compress stage needs a recipe; the plan has none")
        return self.option.recipe.name


@dataclass(frozen=True)
class Choice:
    """Who goes on, and by which rule."""

    candidate: str | None
    """None: nobody kept the quality."""
    reason: str


def candidates_of(job: OptimizationJob, option: Option) -> int:
    """Candidates that one recipe gets: a recipe that draws nothing gives the same one each time."""
    return job.flow_params.num_compression_trials if option.calibration_samples else 1


def candidates_at_once(sku: SkuFacts, weights: int) -> int:
    """Candidates that may be made at once: one a device, as the host's memory allows.

    A node's memory is taken for at least that of its devices; each compression holds the weights
    there, and a copy of the layers it has written.

    Args:
        weights: bytes of the uncompressed model.
    """
    if sku.kind == "cpu":
        return 1
    host = sku.memory_bytes * sku.devices
    return max(1, min(sku.devices, host // (2 * weights)))


def planned_candidates(plan: Plan) -> tuple[PlannedCandidate, ...]:
    """Every candidate of the plan, numbered in the order of the recipes, then of the seeds."""
    params = plan.job.flow_params
    found: list[PlannedCandidate] = []
    for option in plan.options:
        for again in range(candidates_of(plan.job, option)):
            recipe = option.recipe.name if option.recipe else "none"
            found.append(
                PlannedCandidate(
                    id=f"c{len(found)}-{recipe}",
                    option=option,
                    seed=params.calibration_seed + again,
                )
            )
    return tuple(found)


def predicted_request_s(plan: Plan, option: Option) -> float | None:
    """Device-seconds that one mean request takes among ``BATCH``, by the roofline.

    None where the SKU's speed in the recipe's dtype is not known (int8 on a CPU).
    """
    serving = option.serving
    try:
        times = roofline(plan.shape, option.recipe, plan.sku, serving)
    except DoesNotFit:
        return None
    prompt, output = plan.workload.prompt_tokens.mean, plan.workload.output_tokens.mean
    batch = min(BATCH, serving.max_num_seqs, serving.max_num_batched_tokens)
    chunk = min(int(prompt), serving.max_num_batched_tokens)
    prefill = times.prefill_s(chunk) * (prompt / max(1, chunk))
    decode = output * times.decode_s(batch, prompt + output / 2) / batch
    return serving.devices * (prefill + decode)


def choose(
    plan: Plan, candidates: Sequence[Candidate], verdicts: Sequence[QualityVerdict]
) -> Choice:
    """The candidate that goes on.

    Kept before *cannot tell*; of those the recipe that the roofline predicts to be faster for the
    job's workload on the SKU (or the smaller one where the SKU's speed in a recipe's dtype is not
    known); of one recipe the candidate that diverges least from the baseline, then the one that
    recovers most, then the first.
    """
    made = {candidate.id: candidate for candidate in candidates if candidate.model is not None}
    able = [v for v in verdicts if v.candidate_id in made and v.verdict in ("kept", "cannot tell")]
    if not able:
        return Choice(None, "no candidate kept the quality")
    options = {o.recipe.name: o for o in plan.options if o.recipe is not None}
    in_play = {made[v.candidate_id].recipe for v in able}
    predicted = {name: predicted_request_s(plan, options[name]) for name in in_play}
    known = all(seconds is not None for seconds in predicted.values())

    def rank(verdict: QualityVerdict) -> tuple[float, ...]:
        recipe = made[verdict.candidate_id].recipe
        seconds = predicted[recipe]
        size = float(options[recipe].weight_bytes)
        recovered = [t.recovery for t in verdict.tasks if t.recovery is not None]
        return (
            float(verdict.verdict != "kept"),
            seconds if known and seconds is not None else size,
            verdict.divergence.kl.value if verdict.divergence else 0.0,
            -min(recovered) if recovered else 0.0,
        )

    best = min(able, key=rank)
    if len(able) == 1:
        return Choice(best.candidate_id, "the only one that may go on")
    by = "predicted time of a request" if known else "size"
    return Choice(
        best.candidate_id,
        f"of {len(able)} that may go on: {best.verdict}, then the smallest {by}, then the least "
        "divergence",
    )
