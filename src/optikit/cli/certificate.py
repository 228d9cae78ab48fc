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
    from optikit.reports.certificate import claim, how, subject

    for title, rows in (
        ("Certificate", {**claim(certificate), "file": str(path)}),
        ("What was measured", subject(certificate)),
        ("How", how(certificate)),
    ):
        say(facts_table(title, {key: value for key, value in rows.items() if value}))
        say("")
    if certificate.measurement is not None:
        _percentiles(certificate.measurement)
        say("")
    if certificate.command:
        say("Command")
        say(shlex.join(certificate.command))


def _percentiles(measured: Measurement) -> None:
    from optikit.cli._print import rows_table, say
    from optikit.reports.certificate import percentiles

    rows = percentiles(measured)
    say(rows_table("At the certified rate", rows, ("percentile", "value ms", "95 % interval")))
    say(
        f"{measured.achieved_rps:.4g} requests/s, {measured.output_tokens_per_s:.4g} output "
        f"tokens/s, {measured.total_tokens_per_s:.4g} tokens/s, {measured.failed} failed"
    )
