"""How facts look on a terminal: tables, numbers, durations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

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


def duration(seconds: float | None) -> str:
    """Seconds for a person.

    >>> duration(7384), duration(75), duration(4.2), duration(None)
    ('2 h 03 min', '1 min 15 s', '4.2 s', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def bytes_text(count: float) -> str:
    """Bytes for a person, in decimal units.

    >>> bytes_text(140_000_000_000)
    '140.0 GB'
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def number(value: Any) -> str:
    """A cell: three digits for a float, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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


def _gain_text(corner: Mapping[str, Any]) -> str | None:
    """``1.44x (1.32 to 1.57)``; a gain that may be none is called a tie."""
    gain, low, high = corner["gain"], corner.get("gain_low"), corner.get("gain_high")
    if not gain:
        return None
    if low is None or high is None or low == high:
        return f"{gain:.2f}x"
    tie = ", a tie" if low <= 1 <= high else ""
    return f"{gain:.2f}x ({low:.2f} to {high:.2f}{tie})"


def corner_table(corners: Mapping[str, Mapping[str, Any]], title: str = "Four corners") -> Table:
    """The talk's table."""
    names = {
        "baseline": "Baseline",
        "quantized": "Quantization only",
        "tuned": "Tuning only",
        "both": "Quantization + tuning",
    }
    rows = [
        {
            "corner": names[name],
            "rate req/s": corner["rate_rps"],
            "per device": corner["rate_per_gpu"],
            "SLO met": corner["slo_met"],
            "gain": _gain_text(corner),
            "note": corner["reason"]
            or ("preliminary" if corner["preliminary"] and corner["slo_met"] else None),
        }
        for name, corner in corners.items()
    ]
    return rows_table(
        title, rows, ("corner", "rate req/s", "per device", "SLO met", "gain", "note")
    )
