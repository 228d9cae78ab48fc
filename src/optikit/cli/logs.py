"""optikit logs JOB [--trial T]: the driver's log, or an engine's."""

from __future__ import annotations

import argparse
import sys

from optikit.cli._where import add_places, open_job

HELP = "print the log of a job's driver, or of a trial's engine"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--trial", help="a trial's id: its engine log")
    parser.add_argument("--json", action="store_true", help="print the journal's events instead")
    parser.add_argument(
        "--follow", action="store_true", help="the driver's log, until the job has ended"
    )
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Logs of one job."""
    from optikit.cli._print import as_json

    job = open_job(args)
    if args.json:
        as_json(list(job.events()))
    elif args.follow and args.trial is None:
        for text in job.log_lines():
            sys.stdout.write(text)
            sys.stdout.flush()
    else:
        sys.stdout.write(job.logs(args.trial))
    return 0
