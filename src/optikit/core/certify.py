"""Records -> Certificate: what was measured, on what, so that anyone can measure it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from optikit.core.elsewhere import sends_to
from optikit.errors import OptikitError
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.plan import Plan
from optikit.spec.quality import QualityVerdict
from optikit.spec.record import (
    Certificate,
    Measurement,
    Probe,
    ProbeLine,
    Quantile,
    RateResult,
    SentAs,
    Trial,
)
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload

__all__ = [
    "certify",
    "certify_elsewhere",
    "certify_endpoint",
    "measurement_at_rate",
    "probe_line",
]

_SHIPPING = ("certify", "open")
"""Phases that speak for a rate, the last word first."""


def certify(
    plan: Plan,
    trial: Trial,
    *,
    job_id: str,
    created: str,
    optikit_version: str,
    engine_version: str,
    command: Sequence[str],
    hardware: Mapping[str, str],
    simulated: bool = False,
    archive_digest: str | None = None,
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
        simulated: the engine is a model of a server.
        archive_digest: SHA-256 over the trial's raw probe files, in order.
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
    rps = trial.rate_rps
    return Certificate(
        status=_status(rate, quality),
        simulated=simulated,
        source="job",
        job_id=job_id,
        created=created,
        optikit_version=optikit_version,
        model_name=plan.job.model.name,
        model_digest=trial.model_digest,
        recipe=plan.recipe.name if plan.recipe and trial.variant == "compressed" else "none",
        engine=plan.job.engine.name,
        engine_version=engine_version,
        serving=trial.serving,
        command=tuple(command),
        hardware=dict(hardware),
        sku=plan.job.compute.sku.value,
        sent_as=SentAs(vocab=plan.shape.vocab),
        rate_per_device_rps=None if rps is None else rps / trial.serving.devices,
        quality=quality,
        archive_digest=archive_digest,
        **_found(rate, plan.job.method, plan.job.workload, plan.job.slo, plan.trace),
    )


def certify_endpoint(
    rate: RateResult,
    endpoint: Endpoint,
    workload: Workload,
    slo: Slo,
    method: MethodChoice,
    *,
    measurement_id: str,
    created: str,
    optikit_version: str,
    engine: str,
    engine_version: str,
    client: Mapping[str, str],
    archive_digest: str | None,
    trace: Trace | None = None,
    says: Mapping[str, str] | None = None,
) -> Certificate:
    """The certificate of a server that somebody else runs.

    Its model has a name and no digest, and its hardware is not stated: neither can be seen from
    here. The status is that of :func:`certify`, without a word on quality.

    Args:
        measurement_id: folder of the measurement, in place of a job's id.
        engine: as the server names itself.
        client: facts of the machine that sent the requests.
        says: what the server told of itself.
    """
    return Certificate(
        status=_status(rate, None),
        source="endpoint",
        job_id=measurement_id,
        created=created,
        optikit_version=optikit_version,
        model_name=endpoint.model,
        model_digest=None,
        recipe="unknown",
        engine=engine,
        engine_version=engine_version,
        serving=None,
        command=(),
        endpoint=endpoint.base_url,
        server_says=dict(says or {}),
        hardware={},
        client=dict(client),
        sku=None,
        sent_as=SentAs(
            api=endpoint.api,
            prompts=endpoint.prompts,
            vocab=endpoint.vocab,
            enforce_length=endpoint.enforce_length,
        ),
        rate_per_device_rps=None,
        quality=None,
        archive_digest=archive_digest,
        **_found(rate, method, workload, slo, trace),
    )


def certify_elsewhere(
    plan: Plan,
    trial: Trial,
    *,
    job_id: str,
    created: str,
    optikit_version: str,
    client: Mapping[str, str],
    archive_digest: str | None,
) -> Certificate:
    """The certificate of a job whose server is somebody else's; see :func:`certify_endpoint`.

    Raises:
        OptikitError: the trial measured no rate.
    """
    if trial.rate is None:
        raise OptikitError(f"trial {trial.id} has no rate to certify")
    target = sends_to(plan.job)
    if target.prompts == "tokens":
        target = target.model_copy(update={"vocab": plan.shape.vocab})
    return certify_endpoint(
        trial.rate,
        target,
        plan.job.workload,
        plan.job.slo,
        plan.job.method,
        measurement_id=job_id,
        created=created,
        optikit_version=optikit_version,
        engine=trial.server.get("engine", "unknown"),
        engine_version=trial.server.get("version", "unknown"),
        client=client,
        archive_digest=archive_digest,
        trace=plan.trace,
        says=trial.server,
    )


def _found(
    rate: RateResult, method: MethodChoice, workload: Workload, slo: Slo, trace: Trace | None
) -> dict[str, Any]:
    """What was asked of the search and what it found, the same for every kind of server."""
    measurement = measurement_at_rate(rate)
    return {
        "workload": workload,
        "trace_digest": trace.digest if trace else None,
        "slo": slo,
        "method": method,
        "outcome": rate.outcome,
        "rate_rps": rate.rate_rps if rate.outcome == "pass" else None,
        "rate_low_rps": rate.rate_low_rps,
        "rate_high_rps": rate.rate_high_rps,
        "estimate_rps": rate.estimate_rps,
        "saturation_rps": rate.saturation_rps,
        "requests": rate.requests,
        "requests_at_rate": rate.requests_at_rate,
        "seeds": tuple(probe.seed for probe in rate.probes if probe.seed is not None),
        "probes": tuple(map(probe_line, rate.probes)),
        "measurement": measurement,
        "client_lag": _lag(measurement),
        "reason": rate.reason,
    }


def _status(
    rate: RateResult, quality: QualityVerdict | None
) -> Literal["preliminary", "certified", "negative"]:
    gone = quality is not None and quality.verdict in ("lost", "unsupported", "failed")
    if rate.outcome == "infeasible" or gone:
        return "negative"
    if rate.preliminary or rate.outcome == "inconclusive":
        return "preliminary"
    return "certified"


def probe_line(probe: Probe) -> ProbeLine:
    """A probe without its figures."""
    return ProbeLine(
        number=probe.number,
        phase=probe.phase,
        rate_rps=probe.rate_rps,
        concurrency=probe.concurrency,
        requests=probe.measurement.requests,
        verdict=probe.verdict,
        reason=probe.reason,
    )


def measurement_at_rate(rate: RateResult) -> Measurement | None:
    """What was seen at the rate found by the last probe that passed; None where none did.

    A probe with fresh seeds that certified the rate comes before those on the way to it.
    """
    if rate.outcome != "pass":
        return None
    for phase in _SHIPPING:
        for probe in reversed(rate.probes):
            if probe.phase == phase and probe.verdict == "pass" and probe.rate_rps == rate.rate_rps:
                return probe.measurement
    return None


def _lag(measurement: Measurement | None) -> Quantile | None:
    found = [q for q in measurement.quantiles if q.metric == "lag"] if measurement else []
    return found[-1] if found else None
