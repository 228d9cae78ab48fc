"""What the tracker is told of a job; the archive stays the record."""

from __future__ import annotations

import re
from pathlib import Path

from optikit.core.corners import four_corners
from optikit.errors import OptikitError
from optikit.spec.plan import Plan
from optikit.spec.record import Certificate
from optikit.spec.simulated import MARK
from optikit.stages.base import Inputs, Tools

__all__ = ["project"]


def project(
    tools: Tools,
    inputs: Inputs,
    plan: Plan,
    name: str,
    recipe: str,
    bundle: Path | None,
    certificate: Certificate | None,
) -> None:
    """Tell the tracker. It projects the archive, so its failure costs the job nothing."""
    benchmark = inputs.benchmark.trials if inputs.benchmark else ()
    tune = inputs.tune.trials if inputs.tune else ()
    try:
        version = tools.tracker.record(
            tools.journal.home,
            tools.journal.job_id,
            _params(plan, recipe),
            _metrics(inputs, plan, certificate),
            [*benchmark, *tune],
            bundle,
            name,
            {
                "status": certificate.status if certificate else "not measured",
                "recipe": recipe,
                "licence": inputs.fetched().licence or "not stated",
                **({"optikit.simulated": MARK} if plan.simulated else {}),
            },
        )
    except (OptikitError, OSError) as error:
        tools.journal.event("tracker_failed", tracker=tools.tracker.name, error=str(error))
        return
    tools.journal.event("tracked", tracker=tools.tracker.name, version=version)


def _params(plan: Plan, recipe: str) -> dict[str, str]:
    job = plan.job
    facts = {
        "flow": plan.flow.name,
        "model": f"{job.model.name}:{job.model.version}",
        "recipe": recipe,
        "sku": job.compute.sku.value,
        "engine": job.engine.name,
        "tuner": job.tuner.name,
        "tuner_seed": job.tuner.seed,
        "method": job.method.name,
        "num_trials": plan.trials,
        "slo": job.slo,
        **{f"workload.{key}": value for key, value in job.workload.model_dump().items()},
    }
    return {key: str(value) for key, value in facts.items()}


def _metrics(inputs: Inputs, plan: Plan, certificate: Certificate | None) -> dict[str, float]:
    benchmark = inputs.benchmark.trials if inputs.benchmark else ()
    tune = inputs.tune.trials if inputs.tune else ()
    found: dict[str, float | None] = {}
    if certificate is not None:
        found["rate_rps"] = certificate.rate_rps
        found["rate_per_device_rps"] = certificate.rate_per_device_rps
    last = inputs.tune.contenders if inputs.tune else ()
    if plan.flow.measures:
        for name, corner in four_corners(benchmark, tune, plan.flow.compresses, last).items():
            found[f"corner.{name}.rate_per_device_rps"] = corner.rate_per_gpu
            found[f"corner.{name}.gain"] = corner.gain
    for verdict in inputs.evaluate.verdicts if inputs.evaluate else ():
        if verdict.divergence is not None:
            found[f"kl.{verdict.candidate_id}"] = verdict.divergence.kl.value
            ratio = verdict.divergence.perplexity_ratio.value
            found[f"perplexity_ratio.{verdict.candidate_id}"] = ratio
        for score in verdict.tasks:
            task = re.sub(r"[^\w-]", "_", score.task)
            found[f"recovery.{verdict.candidate_id}.{task}"] = score.recovery
    return {key: value for key, value in found.items() if value is not None}
