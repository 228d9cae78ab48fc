"""What an export says of the certificate: comments for people, annotations for programs."""

from __future__ import annotations

from collections.abc import Iterable

from optikit.errors import BadInput
from optikit.spec.bundle import Bundle

__all__ = ["comment", "labels", "must_be_deployable", "one_line", "stated"]

_PREFIX = "optikit/"
_BREAKS = str.maketrans({"\x85": " ", "\u2028": " ", "\u2029": " "})


def must_be_deployable(bundle: Bundle, allow_uncertified: bool) -> None:
    """Refuse what nobody should serve, or not without knowing.

    Raises:
        BadInput: a simulated bundle, or one that is not certified and was not allowed.
    """
    if bundle.facts.simulated:
        raise BadInput(
            f"the bundle {bundle.folder} is simulated: it holds no model and no server was "
            "measured, so that there is nothing to deploy; run the job with `engine: vllm`"
        )
    if not bundle.certified and not allow_uncertified:
        raise BadInput(
            f"the bundle {bundle.folder} is not certified ({_claim(bundle)}); certify it, or "
            "export it all the same with --allow-uncertified"
        )


def comment(bundle: Bundle, title: str, *more: str) -> str:
    """Lines for the head of a file, each a comment.

    Args:
        title: what the file is.
        more: what a person must know or do.
    """
    certificate = bundle.certificate
    lines = [title, _claim(bundle)]
    if not bundle.certified:
        lines.insert(1, "NOT CERTIFIED, exported with --allow-uncertified: no rate is warranted.")
    if certificate is not None:
        lines += [
            f"SLO: {certificate.slo}. Workload: {certificate.workload}.",
            f"Measured on {_hardware(bundle)}, job {certificate.job_id}, {certificate.created}.",
            f"Model {certificate.model_digest}.",
            f"Certificate {bundle.certificate_digest}.",
        ]
    lines.append("Other arguments, another engine version or other hardware give other figures.")
    # a backslash at the end would take the next line in
    return "".join(f"# {one_line(line)}".rstrip("\\ ") + "\n" for line in [*lines, *more])


def stated(bundle: Bundle) -> dict[str, str]:
    """The certificate in keys as Kubernetes takes them; every value one line of text."""
    facts, certificate = bundle.facts, bundle.certificate
    found: dict[str, object] = {
        "status": facts.status,
        "claim": _claim(bundle),
        "engine": f"{facts.engine.name} {facts.engine.version}",
        "hardware": _hardware(bundle),
    }
    if not bundle.certified:
        found["warning"] = "not certified; exported with --allow-uncertified"
    if certificate is not None:
        found |= {
            "verdict": certificate.outcome,
            "rate-rps": certificate.rate_rps,
            "rate-per-device-rps": certificate.rate_per_device_rps,
            "slo": certificate.slo,
            "workload": certificate.workload,
            "quality": certificate.quality.verdict if certificate.quality else None,
            "recipe": certificate.recipe,
            "job": certificate.job_id,
            "measured": certificate.created,
            "model-digest": certificate.model_digest,
            "certificate-digest": bundle.certificate_digest,
        }
    return {_PREFIX + key: one_line(str(v)) for key, v in found.items() if v is not None}


def labels(bundle: Bundle) -> dict[str, str]:
    """What one may select by."""
    return {
        f"{_PREFIX}status": bundle.facts.status.replace(" ", "-"),
        f"{_PREFIX}sku": bundle.facts.devices.sku.value,
    }


def _hardware(bundle: Bundle) -> str:
    devices = bundle.facts.devices
    return f"{devices.used} of {devices.sku.facts.devices} devices of {devices.sku.value}"


def _claim(bundle: Bundle) -> str:
    certificate = bundle.certificate
    if certificate is None:
        return "not measured: no rate is claimed"
    word = certificate.status
    if certificate.rate_rps is None or word == "negative":
        return f"{word}, {certificate.outcome}: {one_line(certificate.reason)}"
    held = "hold the SLO" if word == "certified" else "held the SLO, short of a certificate"
    return f"{word}: {certificate.rate_rps:.4g} requests/s {held}"


def one_line(text: str) -> str:
    """The text without breaks and control characters, for a place that ends with the line."""
    shown: Iterable[str] = (c if c.isprintable() else " " for c in text.translate(_BREAKS))
    return " ".join("".join(shown).split())
