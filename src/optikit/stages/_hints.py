"""What a variant's search begins with: a prediction, and what earlier jobs saw."""

from __future__ import annotations

from optikit.core.space import Space
from optikit.core.transfer import Described, Earlier, starts
from optikit.spec.plan import Plan
from optikit.spec.record import Variant
from optikit.stages.base import Tools
from optikit.tuners.base import Outcome, Prior, Seen

__all__ = ["seen_elsewhere"]


def seen_elsewhere(
    tools: Tools,
    plan: Plan,
    variant: Variant,
    space: Space,
    prior: Prior,
) -> tuple[Seen, ...]:
    """Configurations that jobs like this one measured, with the rates they would have here: as far
    below the best of them as there, and the best one at its prediction. None where no rate is
    predicted for any of them.
    """
    job = plan.job
    if not job.tuner.transfer:
        return ()
    hints = starts(_described(plan, variant), _earlier(tools), space)
    if not hints:
        return ()
    expected = max(prior.predict(hint.point).rate_per_device for hint in hints)
    if expected <= 0:
        return ()
    tools.journal.event(
        "note",
        text=f"{len(hints)} configurations of earlier jobs with a model and workload like this one "
        f"({variant}) are known to the sampler",
    )
    return tuple(
        Seen(
            hint.point,
            Outcome(
                hint.fitness(expected, job.tuner.slo_penalty_weight),
                rate_per_device=hint.share * expected or None,
                margin=hint.margin,
            ),
            hint.weight,
        )
        for hint in hints
    )


def _described(plan: Plan, variant: Variant) -> Described:
    recipe = plan.recipe if variant == "compressed" else None
    return Described(
        shape=plan.shape,
        scheme=recipe.scheme if recipe else "none",
        accelerator=plan.sku.accelerator,
        engine=plan.job.engine.name,
        workload=plan.workload,
        slo=plan.job.slo,
    )


def _earlier(tools: Tools) -> list[Earlier]:
    found: list[Earlier] = []
    for other, trials in tools.journal.earlier():
        for variant in ("baseline", "compressed"):
            mine = tuple(t for t in trials if t.variant == variant)
            if mine:
                found.append(Earlier(_described(other, variant), mine))
    return found
