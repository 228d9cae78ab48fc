"""Records -> Certificate: what was measured, on what, so that anyone can measure it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from optikit.errors import OptikitError
from optikit.spec.plan import Plan
from optikit.spec.record import Certificate, Measurement, QualityVerdict, RateResult, Trial

__all__ = ["certify", "measurement_at_rate"]


def certify(
    plan: Plan,
    trial: Trial,
    *,
    job_id: str,
    created: str,
    engine_version: str,
    command: Sequence[str],
    hardware: Mapping[str, str],
    quality: QualityVerdict | None = None,
) -> Certificate:
    """The certificate of the trial that ships.

    ``negative``: the SLO is infeasible, or the quality of the shipped candidate is not kept.
    ``preliminary``: the probes are too few for a figure that holds, or the search was
    inconclusive. ``certified``: neither.

    Args:
        trial: the shipped one, with its rate.
        created: ISO 8601, UTC.
        command: the server's full argument list, interpreter first.
        quality: the gate's verdict on the shipped candidate; None where the model is unchanged.

    Raises:
        OptikitError: the trial measured no rate.
    """
    rate = trial.rate
    if rate is None:
        raise OptikitError(
            f"trial {trial.id} has no rate to certify ({trial.error or 'it measured none'}); "
            "only a trial whose rate search ended can be certified"
        )
    recipe = plan.recipe.name if plan.recipe and trial.variant == "compressed" else "none"
    rps = trial.rate_rps
    return Certificate(
        status=_status(rate, quality),
        job_id=job_id,
        created=created,
        model_name=plan.job.model.name,
        model_digest=trial.model_digest,
        recipe=recipe,
        engine=plan.job.engine.name,
        engine_version=engine_version,
        serving=trial.serving,
        command=tuple(command),
        hardware=dict(hardware),
        sku=plan.job.compute.sku.value,
        workload=plan.job.workload,
        slo=plan.job.slo,
        method=rate.method,
        outcome=rate.outcome,
        rate_rps=rps,
        rate_per_device_rps=None if rps is None else rps / trial.serving.devices,
        rate_low_rps=rate.rate_low_rps,
        rate_high_rps=rate.rate_high_rps,
        requests=rate.requests,
        seeds=(plan.job.workload.seed,),
        measurement=measurement_at_rate(rate),
        quality=quality,
        reason=rate.reason,
    )


def _status(
    rate: RateResult, quality: QualityVerdict | None
) -> Literal["preliminary", "certified", "negative"]:
    gone = quality is not None and quality.verdict in ("lost", "unsupported")
    if rate.outcome == "infeasible" or gone:
        return "negative"
    if rate.preliminary or rate.outcome == "inconclusive":
        return "preliminary"
    return "certified"


def measurement_at_rate(rate: RateResult) -> Measurement | None:
    """What the last open-loop probe saw that passed at the rate found; None where none did."""
    if rate.outcome != "pass":
        return None
    for probe in reversed(rate.probes):
        if probe.phase == "open" and probe.verdict == "pass" and probe.rate_rps == rate.rate_rps:
            return probe.measurement
    return None
