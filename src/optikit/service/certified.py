"""What a job that ended has to show: its certificate in words, and how to serve it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optikit.archive import JobArchive
from optikit.errors import BadInput
from optikit.measuring.certificates import read_certificate
from optikit.reports.certificate import claim, how, percentiles, subject
from optikit.reports.summary import FINAL, summary
from optikit.reports.words import interval, number
from optikit.service.live import TONES
from optikit.spec.record import Certificate

__all__ = ["certificate_facts"]

_STATUS = {
    "certified": ("Certified", "good"),
    "preliminary": ("Preliminary", "unclear"),
    "negative": ("Negative: do not deploy", "bad"),
}
_FIRST = ("rate", "sustainable", "status", "SLO", "workload", "reason", "quality")
"""Rows of the claim that have a place of their own."""


def certificate_facts(archive: JobArchive) -> dict[str, Any]:
    """What the certificate's page says, as plain JSON values; ``found``: None where there is no
    certificate, and then ``why_none`` says why.

    Raises:
        ArchiveError: the archive is not whole.
    """
    facts = summary(archive)
    found: dict[str, Any] | None = None
    why = "The job's flow or its end left none: nothing was found that could be served."
    if facts["state"] not in FINAL:
        why = "The job has not ended."
    if facts["certificate"]:
        try:
            found = _words(read_certificate(Path(facts["certificate"])), facts)
        except BadInput as error:
            why = str(error)
    return {
        "id": archive.job_id,
        "title": f"{facts['flow']} of {facts['model']} on {facts['sku']}",
        "simulated": facts["simulated"],
        "state": facts["state"],
        "tone": TONES.get(facts["state"], "unclear"),
        "verdict": facts["verdict"],
        "message": facts["message"] or "",
        "found": found,
        "why_none": why,
    }


def _words(certificate: Certificate, facts: dict[str, Any]) -> dict[str, Any]:
    status, tone = _STATUS[certificate.status]
    claimed = claim(certificate)
    rate, per_device = certificate.rate_rps, certificate.rate_per_device_rps
    about = subject(certificate)
    for name in ("hardware", "serving"):  # tables of their own
        about.pop(name, None)
    serving = certificate.serving.model_dump(mode="json") if certificate.serving else {}
    extra_flags = certificate.serving.extra_flags if certificate.serving else ()
    quality, measured = certificate.quality, certificate.measurement
    return {
        "status": status,
        "tone": tone,
        "rate": None if rate is None else f"{rate:.4g} requests/s",
        "per_device": None if per_device is None else f"{per_device:.4g} requests/s a device",
        "interval": interval([certificate.rate_low_rps, certificate.rate_high_rps], "requests/s"),
        "outcome": certificate.outcome,
        "slo": [str(bound) for bound in certificate.slo.bounds],
        "workload": str(certificate.workload),
        "reason": certificate.reason,
        "quality": None if quality is None else f"{quality.verdict}: {quality.reason}",
        "claim": _rows({k: v for k, v in claimed.items() if k not in _FIRST}),
        "subject": _rows(about),
        "how": _rows(how(certificate)),
        "hardware": _rows({**certificate.hardware}),
        "serving": _rows({**serving, "extra_flags": ", ".join(f"{k} {v}" for k, v in extra_flags)}),
        "bounds": [
            {
                "bound": one.bound,
                "allowed": _percent(one.allowed),
                "seen": _percent(one.share),
                "interval": f"{_percent(one.low)} to {_percent(one.high)}",
                "counted": str(one.counted),
            }
            for one in (measured.bounds if measured else ())
        ],
        "percentiles": percentiles(measured) if measured else [],
        "command": _in_lines(certificate.command),
        "bundle": facts["bundle"],
        "serve": None
        if facts["simulated"] or not facts["bundle"]
        else shlex.join(["sh", f"{facts['bundle']}/serve.sh"]),
        "registered": facts["registered"],
    }


def _rows(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": k, "value": number(v)} for k, v in values.items() if v not in (None, "")]


def _in_lines(command: Sequence[str]) -> str:
    """A command for a shell, an option a line."""
    lines: list[str] = []
    for word in map(shlex.quote, command):
        if word.startswith("--") or not lines:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return " \\\n    ".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
