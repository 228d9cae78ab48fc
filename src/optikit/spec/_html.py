"""How data looks in a notebook: plain tables, every word of it escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["facts", "table"]

_LONGEST = 2000
"""Characters of one value; whoever wants all of a log or a prompt asks the object."""


def table(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], caption: str, more: int = 0
) -> str:
    """Rows under column names.

    Args:
        more: rows that are left out, said below.

    >>> "<td>1.5</td>" in table(["a"], [{"a": 1.5}], "x")
    True
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{value(row.get(name))}</td>' for name in columns)}</tr>"
        for row in rows
    )
    below = f"<p>and {more} more</p>" if more else ""
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{below}"
    )


def facts(title: str, fields: Mapping[str, Any]) -> str:
    """Names and values, one a line; what has fields of its own is folded.

    >>> "&lt;b&gt;" in facts("x", {"name": "<b>"})
    True
    """
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{value(found)}</td></tr>'
        for name, found in fields.items()
    )
    return f"<table><caption>{escape(title)}</caption><tbody>{lines}</tbody></table>"


def value(found: Any) -> str:
    """One cell."""
    if found is None:
        return "-"
    if isinstance(found, float):
        return f"{found:.4g}"
    if isinstance(found, Mapping):
        inner = facts("", {str(name): each for name, each in found.items()})
        return f"<details><summary>{len(found)} fields</summary>{inner}</details>" if found else "-"
    if isinstance(found, (list, tuple, set, frozenset)):
        items = list(found)
        if any(isinstance(each, (Mapping, list, tuple)) for each in items):
            inner = "".join(f"<li>{value(each)}</li>" for each in items)
            return f"<details><summary>{len(items)} items</summary><ol>{inner}</ol></details>"
        return escape(", ".join(str(each) for each in items))[:_LONGEST] or "-"
    text = str(found)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
