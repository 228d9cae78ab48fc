"""optikit cancel JOB: stop a job, its engines and its workers."""

from __future__ import annotations

import argparse

from optikit.cli._where import add_places, open_job

HELP = "stop a running job, its engines and its workers"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--json", action="store_true")
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Cancel one job; it is no error if it had ended."""
    from optikit.cli._print import as_json, say

    job = open_job(args)
    stopped = job.cancel()
    status = job.status()
    if args.json:
        as_json({"id": job.id, "stopped": stopped, "state": status["state"]})
    else:
        say(f"{job.id}: {'cancelled' if stopped else 'was already ' + status['state']}")
    return 0
