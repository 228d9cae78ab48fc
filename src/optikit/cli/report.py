"""optikit report JOB: one job as a page that loads nothing."""

from __future__ import annotations

import argparse

from optikit.cli._pages import page_arguments

HELP = "write a job's report: one HTML file that loads nothing, Markdown or JSON"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    page_arguments(parser, "html")


def run(args: argparse.Namespace) -> int:
    """Write one report."""
    from optikit.api import Job
    from optikit.cli._pages import put
    from optikit.reports.page import page_of

    put(page_of(Job.open(args.job).archive), args)
    return 0
