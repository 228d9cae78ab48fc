"""optikit list: all jobs, oldest first."""

from __future__ import annotations

import argparse

from optikit.cli._where import add_places, job_rows

HELP = "list all jobs, oldest first"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true")
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """List jobs."""
    from optikit.cli._print import as_json, rows_table, say
    from optikit.spec.simulated import MARK

    found = job_rows(args)
    if args.json:
        as_json(found)
    else:
        columns = ("id", "state", "verdict", "created", "flow", "model", "note")
        rows = [{**job, "note": MARK if job["simulated"] else None} for job in found]
        say(rows_table("Jobs", rows, columns))
    return 0
