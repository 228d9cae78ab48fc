"""What the tracker is told of a job; the archive stays the record."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from optikit.core.bundle import PROOF
from optikit.core.corners import four_corners
from optikit.core.provenance import Origin, origin_tags
from optikit.errors import OptikitError
from optikit.spec.plan import Plan
from optikit.spec.record import Certificate
from optikit.spec.simulated import MARK
from optikit.stages.base import Inputs, Tools
from optikit.trackers.base import Tracker

__all__ = ["project", "told"]


def project(
    tools: Tools,
    inputs: Inputs,
    plan: Plan,
    name: str,
    recipe: str,
    bundle: Path | None,
    certificate: Certificate | None,
    address: str | None,
) -> None:
    """Tell the tracker. It projects the archive, so its failure costs the job nothing."""
    home, job_id = tools.journal.home, tools.journal.job_id
    try:
        version = told(
            tools.tracker, home, job_id, inputs, plan, name, recipe, bundle, certificate, address
        )
    except (OptikitError, OSError) as error:
        tools.journal.event("tracker_failed", tracker=tools.tracker.name, error=str(error))
        return
    tools.journal.event("tracked", tracker=tools.tracker.name, version=version)


def told(
    tracker: Tracker,
    home: Path,
    job_id: str,
    inputs: Inputs,
    plan: Plan,
    name: str,
    recipe: str,
    bundle: Path | None,
    certificate: Certificate | None,
    address: str | None,
) -> str | None:
    """Tell a tracker of one job; the version that it gave the model.

    Args:
        address: where else the bundle was brought.

    Raises:
        OptikitError: it does not answer.
    """
    benchmark = inputs.benchmark.trials if inputs.benchmark else ()
    tune = inputs.tune.trials if inputs.tune else ()
    return tracker.record(
        home,
        job_id,
        _params(plan, recipe),
        _metrics(inputs, plan, certificate),
        [*benchmark, *tune],
        bundle,
        name,
        _tags(inputs, plan, recipe, bundle, certificate, address),
    )


def _tags(
    inputs: Inputs,
    plan: Plan,
    recipe: str,
    bundle: Path | None,
    certificate: Certificate | None,
    address: str | None,
) -> dict[str, str]:
    """What a version is found by."""
    job = plan.job
    model = inputs.model_of(inputs.ships())
    facts: dict[str, object] = {
        "status": certificate.status if certificate else "not measured",
        "recipe": recipe,
        **origin_tags(Origin(plan, inputs.fetched(), inputs.chosen(), recipe)),
        "sku": job.compute.sku.value,
        "slo": job.slo,
        "workload": _workload(plan),
        "model_digest": model.digest,
        "quality": _quality(inputs),
    }
    if certificate is not None and certificate.rate_rps is not None:
        facts["certified_rate_rps"] = f"{certificate.rate_rps:.6g}"
    if bundle is not None:
        facts["bundle"] = bundle
        if (bundle / PROOF).is_file():
            proof = (bundle / PROOF).read_bytes()
            facts["certificate_digest"] = f"sha256:{hashlib.sha256(proof).hexdigest()}"
        if address is not None:
            facts["bundle_address"] = address
    if plan.simulated:
        facts["optikit.simulated"] = MARK
    return {key: str(value) for key, value in facts.items()}


def _workload(plan: Plan) -> str:
    """The shape of the load, short."""
    facts = plan.job.workload.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{key}={value}" for key, value in facts.items())[:500] or "default"


def _quality(inputs: Inputs) -> str:
    """The gate's verdict on what ships."""
    chosen = inputs.chosen()
    verdicts = inputs.evaluate.verdicts if inputs.evaluate and chosen else ()
    found = [v.verdict for v in verdicts if chosen and v.candidate_id == chosen.id]
    return str(found[0]) if found else "not compared"


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
