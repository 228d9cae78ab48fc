"""optikit archive sync: what the tracker missed, told again from the archives."""

from __future__ import annotations

import argparse

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "jobs", nargs="*", metavar="JOB", help="ids, beginnings of them, or 'last'; none: every job"
    )
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Tell the tracker again; what it has already stays as it is."""
    from dataclasses import asdict

    from optikit.api import sync_archives
    from optikit.cli._print import as_json, rows_table, say

    found = list(sync_archives(args.jobs))
    if args.json:
        as_json([asdict(one) for one in found])
        return 0
    rows = [
        {
            "job": one.job_id,
            "": one.left_out or "told",
            "version": one.version or "",
        }
        for one in found
    ]
    say(rows_table("Told the tracker", rows, ("job", "", "version")))
    return 0
