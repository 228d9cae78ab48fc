"""optikit logs JOB [--trial T]: the driver's log, or an engine's."""

from __future__ import annotations

import argparse
import sys

from optikit.cli._server import add_server, opened

HELP = "print the log of a job's driver, or of a trial's engine"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--trial", help="a trial's id: its engine log")
    parser.add_argument("--json", action="store_true", help="print the journal's events instead")
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """Logs of one job."""
    from optikit.cli._print import as_json

    job = opened(args)
    if args.json:
        as_json(job.events())
    else:
        sys.stdout.write(job.logs(args.trial))
    return 0
