"""optikit report JOB: one job as a page that loads nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a job's report: one HTML file that loads nothing, Markdown or JSON"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument(
        "--format",
        choices=("html", "md", "json"),
        help="default: what the file's name ends with, else html",
    )


def run(args: argparse.Namespace) -> int:
    """Write one report."""
    from optikit.api import Job
    from optikit.cli._print import say
    from optikit.journal import write_whole
    from optikit.reports.page import page_of
    from optikit.reports.render import as_html, as_json, as_markdown

    ending = args.output.suffix.removeprefix(".") if args.output else ""
    made = {"html": as_html, "md": as_markdown, "json": as_json}
    form = args.format or (ending if ending in made else "html")
    text = made[form](page_of(Job.open(args.job).archive))
    if args.output is None:
        say(text.rstrip("\n"))
    else:
        write_whole(args.output, text)
        say(str(args.output))
    return 0
