"""optikit logs JOB [--trial T]: the driver's log, or an engine's."""

from __future__ import annotations

import argparse
import sys

HELP = "print the log of a job's driver, or of a trial's engine"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--trial", help="a trial's id: its engine log")
    parser.add_argument("--json", action="store_true", help="print the journal's events instead")


def run(args: argparse.Namespace) -> int:
    """Logs of one job."""
    from optikit.api import Job
    from optikit.cli._print import as_json

    job = Job.open(args.job)
    if args.json:
        as_json(list(job.archive.events()))
    else:
        sys.stdout.write(job.logs(args.trial))
    return 0
