"""optikit compare JOB JOB: what two jobs asked differently, and what came out."""

from __future__ import annotations

import argparse

from optikit.cli._pages import page_arguments

HELP = "compare two jobs: what was asked differently, rates, quality, configurations, cost"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    for name in ("job", "other"):
        parser.add_argument(name, metavar="JOB", help="id, a unique beginning of it, or 'last'")
    page_arguments(parser, "md")


def run(args: argparse.Namespace) -> int:
    """Compare two jobs."""
    from optikit.api import Job
    from optikit.cli._pages import put
    from optikit.reports.comparison import comparison

    put(comparison(Job.open(args.job).archive, Job.open(args.other).archive), args)
    return 0
