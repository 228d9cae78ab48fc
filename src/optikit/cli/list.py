"""optikit list: all jobs, oldest first."""

from __future__ import annotations

import argparse

from optikit.cli._server import add_server, chosen_server

HELP = "list all jobs, oldest first"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true")
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """List jobs."""
    from optikit.api import list_jobs
    from optikit.cli._print import as_json, rows_table, say
    from optikit.spec.simulated import MARK

    server = chosen_server(args)
    found = list_jobs() if server is None else list(server.jobs())[::-1]
    if args.json:
        as_json(found)
    else:
        columns = ("id", "state", "verdict", "created", "flow", "model", "note")
        rows = [{**job, "note": MARK if job["simulated"] else None} for job in found]
        say(rows_table("Jobs", rows, columns))
    return 0
