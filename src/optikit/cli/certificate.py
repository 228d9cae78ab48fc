"""optikit certificate show: a certificate as a page."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optikit.spec.record import Certificate, Measurement

HELP = "show a certificate"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="what was measured, on what, and what it showed")
    show.add_argument(
        "certificate",
        metavar="CERT",
        help="certificate.json, a bundle's folder, a job, a measurement, or 'last'",
    )
    show.add_argument("--json", action="store_true", help="print the certificate itself")


def run(args: argparse.Namespace) -> int:
    """Show one certificate."""
    from optikit.api import default_home, find_certificate, read_certificate
    from optikit.cli._print import as_json

    path = find_certificate(args.certificate, default_home())
    certificate = read_certificate(path)
    if args.json:
        as_json(certificate.model_dump(mode="json"))
    else:
        page(certificate, path)
    return 0


def page(certificate: Certificate, path: Path) -> None:
    """The certificate for a person: what it claims first, how it was found last."""
    from optikit.cli._print import facts_table, say

    for title, rows in (
        ("Certificate", _claim(certificate, path)),
        ("What was measured", _subject(certificate)),
        ("How", _how(certificate)),
    ):
        say(facts_table(title, {key: value for key, value in rows.items() if value}))
        say("")
    if certificate.measurement is not None:
        _percentiles(certificate.measurement)
        say("")
    if certificate.command:
        say("Command")
        say(shlex.join(certificate.command))


def _claim(certificate: Certificate, path: Path) -> dict[str, str | None]:
    from optikit.cli._probes import interval
    from optikit.spec.simulated import MARK

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
        "file": str(path),
    }


def _req_s(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.4g} req/s"


def _subject(certificate: Certificate) -> dict[str, str | None]:
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


def _how(certificate: Certificate) -> dict[str, str | None]:
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


def _percentiles(measured: Measurement) -> None:
    from optikit.cli._print import rows_table, say
    from optikit.cli._probes import interval

    rows = [
        {
            "percentile": f"p{q.percentile:g}({q.metric})",
            "value ms": f"{q.value_ms:.4g}",
            "95 % interval": interval([q.low_ms, q.high_ms], "ms"),
        }
        for q in measured.quantiles
        if q.metric != "lag"
    ]
    say(rows_table("At the certified rate", rows, ("percentile", "value ms", "95 % interval")))
    say(
        f"{measured.achieved_rps:.4g} requests/s, {measured.output_tokens_per_s:.4g} output "
        f"tokens/s, {measured.total_tokens_per_s:.4g} tokens/s, {measured.failed} failed"
    )
