"""optikit schema NAME: the JSON Schema of what OptiKIT reads and writes."""

from __future__ import annotations

import argparse

HELP = "print the JSON Schema of a job spec, of an archive's records, or of a certificate"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "name",
        choices=("job", "record", "certificate"),
        help="job: the YAML of plan and submit; record: trials and stage records in a journal; "
        "certificate: certificate.json",
    )


def run(args: argparse.Namespace) -> int:
    """Print one schema."""
    from optikit.cli._print import as_json
    from optikit.core.schemas import schema_of

    as_json(schema_of(args.name))
    return 0
