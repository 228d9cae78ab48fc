"""Searches of earlier jobs that asked the very same question without a model of the server: what a
search by chance, or by TPE, found for how many device-hours. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optikit.reports.tuning import best_so_far, searched
from optikit.spec.plan import Plan
from optikit.spec.record import Trial, Variant

__all__ = ["BLIND", "Elsewhere", "blind_searches"]

BLIND = ("random", "tpe")
"""Samplers that begin without a prediction."""


@dataclass(frozen=True)
class Elsewhere:
    """One earlier search."""

    sampler: str
    steps: tuple[tuple[float, float], ...]
    """As in ``BestSoFar``."""


def blind_searches(
    plan: Plan, variant: Variant, earlier: Iterable[tuple[Plan, Sequence[Trial]]]
) -> tuple[Elsewhere, ...]:
    """The newest search of each blind sampler with the same question.

    Args:
        earlier: plans and trials of other jobs, newest first.
    """
    found: dict[str, Elsewhere] = {}
    for other, trials in earlier:
        sampler = other.job.tuner.name
        if sampler not in BLIND or sampler in found or not _same(plan, other, variant):
            continue
        spent = best_so_far(searched(trials, variant))
        if spent is not None and spent.steps:
            found[sampler] = Elsewhere(sampler, spent.steps)
    return tuple(found[name] for name in BLIND if name in found)


def _same(plan: Plan, other: Plan, variant: Variant) -> bool:
    def question(of: Plan) -> tuple[object, ...]:
        job = of.job
        recipe = of.recipe.name if of.recipe and variant == "compressed" else None
        model = (job.model.name, job.model.version, of.shape)
        return (*model, recipe, job.compute.sku, of.workload, job.slo, job.engine.name)

    return question(plan) == question(other)
