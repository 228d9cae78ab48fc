"""A certificate in words: what it claims, of what, and how that was found."""

from __future__ import annotations

from optikit.reports.words import interval
from optikit.spec.record import Certificate, Measurement
from optikit.spec.simulated import MARK

__all__ = ["claim", "how", "percentiles", "subject"]


def claim(certificate: Certificate) -> dict[str, str | None]:
    """The rate that holds, under what, and why; None where there is nothing to say."""
    words = {"certified": "CERTIFIED", "preliminary": "PRELIMINARY", "negative": "NEGATIVE"}
    simulated = f"{MARK} (no server was measured), " if certificate.simulated else ""
    rate, per_device = certificate.rate_rps, certificate.rate_per_device_rps
    each = "" if per_device is None else f", {per_device:.4g} a device"
    none = f"none ({certificate.outcome})"
    sustainable = [certificate.rate_low_rps, certificate.rate_high_rps]
    quality = certificate.quality
    return {
        "status": simulated + words[certificate.status],
        "rate": none if rate is None else f"{rate:.4g} req/s{each}",
        "sustainable": interval(sustainable, "req/s (95 % interval)"),
        "saturation": _req_s(certificate.saturation_rps),
        "SLO": str(certificate.slo),
        "workload": str(certificate.workload),
        "reason": certificate.reason,
        "quality": f"{quality.verdict}: {quality.reason}" if quality else None,
    }


def _req_s(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.4g} req/s"


def subject(certificate: Certificate) -> dict[str, str | None]:
    """What was measured."""
    foreign = certificate.source == "endpoint"
    hardware = "; ".join(f"{key}: {value}" for key, value in certificate.hardware.items())
    unknown = "not stated: the server is somebody else's" if foreign else None
    serving = certificate.serving
    digest = certificate.model_digest
    return {
        "model": certificate.model_name,
        "digest": digest or ("not known: the checkpoint is out of reach" if foreign else None),
        "recipe": None if foreign else certificate.recipe,
        "engine": f"{certificate.engine} {certificate.engine_version}",
        "endpoint": certificate.endpoint,
        "it says": "; ".join(f"{key}: {value}" for key, value in certificate.server_says.items()),
        "hardware": hardware or unknown,
        "SKU": certificate.sku,
        "client": "; ".join(f"{key}: {value}" for key, value in certificate.client.items()),
        "serving": ", ".join(f"{k} {v}" for k, v in serving.model_dump().items() if v not in ((),))
        if serving
        else unknown,
    }


def how(certificate: Certificate) -> dict[str, str | None]:
    """How it was measured, and who says so."""
    method, lag = certificate.method, certificate.client_lag
    seeds, sent = certificate.seeds, certificate.sent_as
    verdicts = [line.verdict for line in certificate.probes if line.phase != "warmup"]
    counted = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    what = None
    if sent is not None:
        what = f"{sent.api}, prompts as {sent.prompts}"
        what += "" if sent.enforce_length else ", answers may be shorter than asked"
    return {
        "method": f"{method.name} (risk {method.risk:g}, at most {method.max_probes} probes, "
        f"{method.max_search_s:g} s)",
        "requests": f"{certificate.requests}, {certificate.requests_at_rate} of them at the rate",
        "probes": f"{len(certificate.probes)} ({counted})" if counted else None,
        "seeds": f"{len(seeds)} ({len(set(seeds))} different)",
        "sent as": what,
        "client lag": f"p{lag.percentile:g} {lag.value_ms:.3g} ms" if lag else None,
        "trace": certificate.trace_digest,
        "raw probes": certificate.archive_digest,
        "made": f"{certificate.created} by OptiKIT {certificate.optikit_version}, "
        f"as {certificate.job_id}",
    }


def percentiles(measured: Measurement) -> list[dict[str, str | None]]:
    """Each percentile of the requests at the certified rate, with its interval."""
    return [
        {
            "percentile": f"p{q.percentile:g}({q.metric})",
            "value ms": f"{q.value_ms:.4g}",
            "95 % interval": interval([q.low_ms, q.high_ms], "ms"),
        }
        for q in measured.quantiles
        if q.metric != "lag"
    ]
