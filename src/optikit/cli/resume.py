"""optikit resume JOB: go on from the last record."""

from __future__ import annotations

import argparse

from optikit.cli._where import add_places, open_job

HELP = "go on with a job that failed, was cancelled or lost its driver; finished stages are kept"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--detach", action="store_true", help="return at once")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--pool", help="ray, process or inline; default as for submit")
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Resume one job."""
    from optikit.cli._follow import follow
    from optikit.cli._print import as_json, say

    job = open_job(args).resume(args.pool)
    if not args.detach:
        return follow(job, as_json_only=args.json)
    if args.json:
        as_json(job.brief())
    else:
        say(job.id)
    return 0
