"""What a model folder says of its licence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from optikit.core.licence import is_licence_file, licence_named
from optikit.errors import SpecError
from optikit.specfile import parse_mapping

__all__ = ["licence_files", "licence_of"]

_TEXT = re.compile(r"^(licen[cs]e|copying)(\.(txt|md))?$", re.IGNORECASE)
"""Of these the first line says which one it is."""
_FRONT_MATTER = re.compile(r"\A---\s*\n(?P<yaml>.*?)\n---\s*(\n|\Z)", re.DOTALL)
_LONGEST = 200
_MOST_BYTES = 1 << 20


def licence_of(folder: Path) -> str | None:
    """The licence that a model folder states, None where it states none.

    Asked in turn: the front matter of its README, its config.json, the first line of its licence
    file.
    """
    for facts in (_card(folder / "README.md"), _config(folder / "config.json")):
        if named := licence_named(facts):
            return named
    for file in licence_files(folder):
        if _TEXT.match(file.name):
            first = next((li.strip(" #\t") for li in _lines(file) if li.strip(" #\t")), None)
            if first:
                return first[:_LONGEST]
    return None


def licence_files(folder: Path) -> list[Path]:
    """Licence and notice files of a model folder."""
    return [p for p in sorted(folder.iterdir()) if p.is_file() and is_licence_file(p.name)]


def _lines(file: Path) -> list[str]:
    return _text(file).splitlines()


def _text(file: Path) -> str:
    """Its beginning; empty where there is none."""
    try:
        with file.open("rb") as raw:
            return raw.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _card(readme: Path) -> dict[str, Any]:
    """The front matter; nothing where there is none, or it is no plain mapping."""
    front = _FRONT_MATTER.match(_text(readme))
    if front is None:
        return {}
    try:
        return parse_mapping(front["yaml"].encode(), "model card", str(readme))
    except SpecError:
        return {}


def _config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(file))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
