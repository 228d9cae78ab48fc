"""optikit list: all jobs, oldest first."""

from __future__ import annotations

import argparse

HELP = "list all jobs, oldest first"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """List jobs."""
    from optikit.api import list_jobs
    from optikit.cli._print import as_json, rows_table, say
    from optikit.spec.simulated import MARK

    found = list_jobs()
    if args.json:
        as_json(found)
    else:
        columns = ("id", "state", "verdict", "created", "flow", "model", "note")
        rows = [{**job, "note": MARK if job["simulated"] else None} for job in found]
        say(rows_table("Jobs", rows, columns))
    return 0
