"""optikit list: jobs, oldest first; all, or those that are asked for."""

from __future__ import annotations

import argparse

from optikit.cli._index import add_index
from optikit.cli._where import add_places, job_rows

HELP = "list jobs, oldest first"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--state", action="append", default=[], metavar="ANY_STATE", help="repeat it for more"
    )
    parser.add_argument("--model", metavar="NAME", help="of any version, or NAME:VERSION")
    parser.add_argument("--team", metavar="NAME", help="that submitted it to a service")
    parser.add_argument(
        "--since", metavar="AGE", help="submitted since: 7d, 12h, or a date in UTC: 2026-11-27"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the newest so many")
    add_index(parser, "from an index instead of the archives, fast for thousands of jobs:")
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
        columns: tuple[str, ...] = ("id", "state", "verdict", "created", "flow", "model", "note")
        if any(job.get("team") for job in found):
            columns = (*columns, "team")
        if len({job.get("home") for job in found}) > 1:
            columns = (*columns, "home")
        rows = [{**job, "note": MARK if job["simulated"] else None} for job in found]
        say(rows_table("Jobs", rows, columns))
    return 0
