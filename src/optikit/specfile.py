"""Reads what a person wrote: YAML or JSON files of keys and values.

The text may come from anybody, so that it is bounded before it is understood: its size, how deep it
nests, how many values it has; aliases and keys that are named twice are refused; tags make plain
values only, never objects.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from optikit.errors import SpecError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "parse_mapping", "read_mapping"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
"""Mappings and lists inside one another; a job spec needs five."""
MAX_VALUES = 50_000
_LONGEST_WORD = 10_000
"""Characters of a value without quotes, which may be a number; text in quotes has no such bound."""
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What constructors of plain values raise on ``!!int x`` and the like."""


class _Refused(Exception):
    """Its first argument says what is in the way and where."""


class _Loader(yaml.CSafeLoader):
    """libyaml's loader of plain values; a key that is there twice is an error, not the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = self.construct_object(key, deep=True)
            line = key.start_mark.line + 1
            if not isinstance(name, Hashable):
                raise _Refused(f"line {line}: a key must be a word, found a {key.id}")
            if name in seen:
                raise _Refused(
                    f"key {name!r:.80} is named twice, on line {seen[name]} and on line {line}; "
                    "keep one of them"
                )
            seen[name] = line
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML or JSON file.

    Args:
        what: what the file should be, for the message: ``job spec``.

    Raises:
        SpecError: no such file, or anything that ``parse_mapping`` refuses.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"cannot read the {what} {path}: {error.strerror}") from None
    return parse_mapping(content, what, str(path))


def parse_mapping(content: bytes, what: str, where: str) -> dict[str, Any]:
    """The keys and values of YAML or JSON text.

    Args:
        content: UTF-8 (or UTF-16 with its mark).
        what: what it should be, for the message.
        where: where it came from, for the message: a path, ``the request``.

    Raises:
        SpecError: larger than 1 MB, not plain YAML, nested deeper than 32, more than 50,000 values,
            an alias, a key named twice, or no mapping.
    """
    if len(content) > MAX_BYTES:
        raise SpecError(f"{where} is larger than {MAX_BYTES} bytes: not a {what}")
    try:
        _check_events(content)
        loader = _Loader(content)
        try:
            data = loader.get_single_data()
        finally:
            loader.dispose()
    except _Refused as refused:
        raise SpecError(f"{where}: {refused}") from None
    except (yaml.YAMLError, *_MALFORMED) as error:
        raise SpecError(f"{where} is not plain YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{where}: a {what} is a mapping of keys, found {type(data).__name__}")
    return data


def _check_events(content: bytes) -> None:
    """Refuse what is too deep, too much, or says more than it writes; nothing is built here."""
    depth = values = 0
    for event in yaml.parse(content, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(f"line {line}: aliases (*{event.anchor}) are not read; write it out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if not event.style and len(event.value) > _LONGEST_WORD:  # no quotes
                raise _Refused(f"line {line}: a word of more than {_LONGEST_WORD} characters")
        if depth > MAX_DEPTH:
            raise _Refused(f"line {line}: nested deeper than {MAX_DEPTH}")
        if values > MAX_VALUES:
            raise _Refused(f"line {line}: more than {MAX_VALUES} keys and values")
