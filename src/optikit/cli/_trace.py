"""optikit archive trace: a job's trace, sent again, or its spans as JSON."""

from __future__ import annotations

import argparse

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("jobs", nargs="+", metavar="JOB", help="ids, beginnings of them, or 'last'")
    parser.add_argument("--json", action="store_true", help="print the spans; send nothing")


def run(args: argparse.Namespace) -> int:
    """Send or print."""
    from optikit.api import send_traces, traces_of
    from optikit.cli._print import as_json, rows_table, say

    if args.json:
        as_json([trace.plain() for trace in traces_of(args.jobs)])
        return 0
    rows = [
        {"job": one.job_id, "trace": one.trace_id, "spans": len(one.spans)}
        for one in send_traces(args.jobs)
    ]
    say(rows_table("Sent", rows, ("job", "trace", "spans")))
    return 0
