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
    parser.add_argument(
        "--raw", action="store_true", help="lines as they stand, also where they are JSON"
    )
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Logs of one job."""
    from optikit.cli._print import as_json
    from optikit.core.logs import readable

    job = open_job(args)
    if args.json:
        as_json(list(job.events()))
        return 0
    follow = args.follow and args.trial is None
    waiting = ""
    for text in job.log_lines() if follow else [job.logs(args.trial)]:
        *lines, waiting = (waiting + text).split("\n")
        for line in lines:
            sys.stdout.write((line if args.raw else readable(line)) + "\n")
        sys.stdout.flush()
    sys.stdout.write(waiting)
    return 0
