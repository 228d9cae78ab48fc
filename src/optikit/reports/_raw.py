"""Raw files of an archive, read with suspicion: what is not as written is one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optikit.core.timings import Timings
from optikit.errors import ArchiveError

__all__ = ["read_timings"]

_TIMES = ("scheduled_s", "sent_s", "first_token_s", "end_s")
_MOST_TOKENS = 2**31
_LONGEST_S = 1e9


def read_timings(path: Path) -> Timings:
    """A probe's requests.

    Raises:
        ArchiveError: the file is missing, torn, or a row of it is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArchiveError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from None
    if not text.endswith("\n"):
        raise ArchiveError(f"{path} is torn: its last line has no end")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines()):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"{path} line {number + 1} is no JSON: {error}") from None
        if (wrong := _wrong(row, number)) is not None:
            raise ArchiveError(f"{path} line {number + 1} is no request: {wrong}")
        rows.append(row)
    measured = [number for number, row in enumerate(rows) if row["measured"]]
    if not measured:
        raise ArchiveError(f"{path} has no measured request")
    if measured[-1] - measured[0] + 1 != len(measured):
        raise ArchiveError(f"{path}: the measured requests are not one after the other")
    if len({"token_s" in row for row in rows}) > 1:
        raise ArchiveError(f"{path}: some requests have the times of their tokens, others have not")
    return Timings.from_rows(rows)


def _wrong(row: Any, number: int) -> str | None:
    """What keeps a row from being a request; None: nothing does."""
    if not isinstance(row, dict) or row.get("index") != number:
        return f"request {number} is expected here"
    for name in _TIMES:
        if name not in row or not (row[name] is None or _is_time(row[name])):
            return f"{name} is {row.get(name)!r:.40}"
    for name in ("prompt_tokens", "output_tokens"):
        value = row.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST_TOKENS:
            return f"{name} is {value!r:.40}"
    if not isinstance(row.get("measured"), bool):
        return f"measured is {row.get('measured')!r:.40}"
    if not isinstance(row.get("error", ""), str):
        return f"error is {row['error']!r:.40}"
    tokens = row.get("token_s", [])
    if not isinstance(tokens, list) or not all(map(_is_time, tokens)):
        return "token_s is no list of times"
    unknown = set(row) - {*_TIMES, "index", "prompt_tokens", "output_tokens", "measured"}
    unknown -= {"error", "token_s"}
    return f"unknown key {min(unknown)!r}" if unknown else None


def _is_time(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < _LONGEST_S  # which no NaN is
