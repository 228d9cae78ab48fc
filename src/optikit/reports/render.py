"""A page as one HTML file that loads nothing, as Markdown, or as JSON."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optikit.adapters.jinja2 import page_templates
from optikit.reports.page import Page

__all__ = ["as_html", "as_json", "as_markdown"]


def as_html(page: Page, back: str | None = None) -> str:
    """One self-contained file: no script, no font, no request; figures are inside.

    Args:
        back: address of the job's page, where there is a service that has one.

    Raises:
        OptikitError: jinja2 is not installed.
    """
    return _rendered("report.html.j2", page, back)


def as_markdown(page: Page) -> str:
    """The same without figures: they are named with their files.

    Raises:
        OptikitError: jinja2 is not installed.
    """
    return _rendered("report.md.j2", page, None)


def as_json(page: Page) -> str:
    """The same for programs; what ``optikit show --json`` prints has the figures as numbers."""
    return json.dumps(asdict(page), indent=2, default=str) + "\n"


def _rendered(template: str, page: Page, back: str | None) -> str:
    environment = page_templates(Path(__file__).parent / "templates")
    environment.filters |= {"inside": _inside, "line": _line, "cell": _cell}
    return str(environment.get_template(template).render(page=page, back=back))


def _inside(path: Path) -> str:
    """An SVG file as an address that holds it: as an image it can run and load nothing."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _line(text: Any) -> str:
    """Text in one line of Markdown: a job's words are no markup."""
    return " ".join(str(text).replace("&", "&amp;").replace("<", "&lt;").split())


def _cell(text: Any) -> str:
    """The same in a cell of a table."""
    return _line(text).replace("|", "\\|")
