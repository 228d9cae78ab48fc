"""Where a page goes: a file or standard output, as HTML, Markdown or JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optikit.reports.page import Page

__all__ = ["page_arguments", "put"]


def page_arguments(parser: argparse.ArgumentParser, usual: str) -> None:
    """Add --output and --format."""
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument(
        "--format",
        choices=("html", "md", "json"),
        help=f"default: what the file's name ends with, else {usual}",
    )
    parser.set_defaults(usual_format=usual)


def put(page: Page, args: argparse.Namespace) -> None:
    """Write a page, whole or not at all."""
    from optikit.cli._print import say
    from optikit.journal import write_whole
    from optikit.reports.render import as_html, as_json, as_markdown

    ending = args.output.suffix.removeprefix(".") if args.output else ""
    made = {"html": as_html, "md": as_markdown, "json": as_json}
    form = args.format or (ending if ending in made else args.usual_format)
    text = made[form](page)
    if args.output is None:
        say(text.rstrip("\n"))
    else:
        write_whole(args.output, text)
        say(str(args.output))
