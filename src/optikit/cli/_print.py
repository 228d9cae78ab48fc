"""How facts look on a terminal: tables, numbers, durations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from optikit.reports.words import bytes_text, corner_rows, duration, number

__all__ = ["as_json", "bytes_text", "corner_table", "duration", "facts_table", "rows_table", "say"]

_PIPE_COLUMNS = 200
"""A pipe has no width: tables are as wide as they need to be."""


def say(what: Any) -> None:
    """Print a line of text as it is, or a rich object."""
    if isinstance(what, str):
        print(what, flush=True)
        return
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(highlight=False, width=width).print(what)


def as_json(data: Any) -> None:
    """Print plain JSON values."""
    print(json.dumps(data, indent=2))


def facts_table(title: str, facts: Mapping[str, Any]) -> Table:
    """Two columns: key and value."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key, number(value))
    return table


def rows_table(title: str, rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]) -> Table:
    """One row a mapping."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(number(row.get(column)) for column in columns))
    return table


def corner_table(corners: Mapping[str, Mapping[str, Any]], title: str = "Four corners") -> Table:
    """The talk's table."""
    rows = corner_rows(corners)
    return rows_table(title, rows, tuple(rows[0]))
