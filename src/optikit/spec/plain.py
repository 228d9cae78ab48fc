"""What no spec can mean, whatever its key: numbers beyond any use, text that is none, deep nests.

Types alone let them through, and they end as overflows or unreadable files far from their key.
"""

from __future__ import annotations

from typing import Any

from optikit.errors import SpecError

__all__ = ["MOST", "must_be_plain"]

MOST = 2**53
"""Whole numbers up to this are exact everywhere: in JSON, in floats, in databases."""
_DEEPEST = 32


def must_be_plain(data: Any, what: str) -> None:
    """Look at raw values before they are parsed.

    Args:
        what: the spec's name, for the message.

    Raises:
        SpecError: a whole number beyond 2**53, a text that UTF-8 cannot hold or with a null byte,
            nesting beyond 32 levels; with the key's path.

    >>> must_be_plain({"a": {"b": [1, 10**30]}}, "Job")
    Traceback (most recent call last):
    optikit.errors.SpecError: Job: 'a.b.1': a number of 31 digits; at most 2**53 can be meant
    """
    todo: list[tuple[str, Any, int]] = [("", data, 0)]
    while todo:
        path, value, depth = todo.pop()
        problem = _problem(value)
        if depth > _DEEPEST:
            problem = f"nested deeper than {_DEEPEST} levels"
        if problem is not None:
            raise SpecError(f"{what}: '{path or '(whole)'}': {problem}")
        if isinstance(value, dict):
            for key in value:
                if isinstance(key, str) and _problem(key) is not None:
                    raise SpecError(f"{what}: a key of '{path or '(whole)'}': {_problem(key)}")
            inner = [(str(key) or "''", each) for key, each in value.items()]
        elif isinstance(value, list | tuple):
            inner = [(str(place), each) for place, each in enumerate(value)]
        else:
            continue
        todo += [(f"{path}.{name}" if path else name, each, depth + 1) for name, each in inner]


def _problem(value: Any) -> str | None:
    if isinstance(value, int) and abs(value) > MOST:
        digits = len(str(abs(value))) if abs(value) < 10**1000 else "over 1000"
        return f"a number of {digits} digits; at most 2**53 can be meant"
    if isinstance(value, str):
        if "\0" in value:
            return "a text with a null byte"
        try:
            value.encode()
        except UnicodeEncodeError:
            return "a text that is no Unicode (a lone surrogate)"
    return None
