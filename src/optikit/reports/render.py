"""A page as one HTML file that loads nothing, as Markdown, or as JSON."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optikit.errors import OptikitError
from optikit.reports.page import Page

__all__ = ["as_html", "as_json", "as_markdown"]


def as_html(page: Page) -> str:
    """One self-contained file: no script, no font, no request; figures are inside.

    Raises:
        OptikitError: jinja2 is not installed.
    """
    return _rendered("report.html.j2", page)


def as_markdown(page: Page) -> str:
    """The same without figures: they are named with their files.

    Raises:
        OptikitError: jinja2 is not installed.
    """
    return _rendered("report.md.j2", page)


def as_json(page: Page) -> str:
    """The same for programs; what ``optikit show --json`` prints has the figures as numbers."""
    return json.dumps(asdict(page), indent=2, default=str) + "\n"


def _rendered(template: str, page: Page) -> str:
    try:
        import jinja2
    except ModuleNotFoundError:
        raise OptikitError(
            "a report needs jinja2, which is not installed: pip install 'optikit[report]'; "
            "--format json needs nothing"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inside": _inside, "line": _line, "cell": _cell}
    return environment.get_template(template).render(page=page)


def _inside(path: Path) -> str:
    """An SVG file as an address that holds it: as an image it can run and load nothing."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _line(text: Any) -> str:
    """Text in one line of Markdown: a job's words are no markup."""
    return " ".join(str(text).replace("&", "&amp;").replace("<", "&lt;").split())


def _cell(text: Any) -> str:
    """The same in a cell of a table."""
    return _line(text).replace("|", "\\|")
