"""JSON Schemas of what OptiKIT reads and writes, made from the specs themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import TypeAdapter

from optikit.errors import UnknownName, nearest
from optikit.spec.job import OptimizationJob
from optikit.spec.record import Certificate, StageRecord, Trial
from optikit.spec.versions import SCHEMAS

__all__ = ["newer_than_this", "schema_of"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: dict[str, tuple[Any, Literal["validation", "serialization"], str]] = {
    # what a person may write
    "job": (OptimizationJob, "validation", "Job spec: YAML or JSON for optikit plan and submit"),
    # what is written
    "record": (
        StageRecord | Trial,
        "serialization",
        "A stage's record, or a trial: `record` of the events `record`, `trial` of the events "
        "`trial` in an archive's journal.jsonl",
    ),
    "certificate": (Certificate, "serialization", "certificate.json of a bundle or a measurement"),
}


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a job spec, a record or a certificate.

    What a schema cannot say (percentiles between 0 and 100 in a text, fields that go together), the
    reader still checks.

    Raises:
        UnknownName: with the nearest known ones.
    """
    if name not in _TYPES:
        raise UnknownName(f"unknown schema {name!r}; {nearest(name, _TYPES)}")
    kind, mode, what = _TYPES[name]
    found: dict[str, Any] = _plain(TypeAdapter(kind).json_schema(mode=mode))
    head = {
        "$schema": _DIALECT,
        "$id": f"urn:optikit:{name}:{SCHEMAS[name]}",
        "title": f"optikit {name}, version {SCHEMAS[name]}",
        "description": what,
    }
    return head | {key: value for key, value in found.items() if key not in head}


def _plain(schema: Any) -> Any:
    """Without titles that only repeat a name; of a description its first paragraph."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "description" and isinstance(value, str):
            value = " ".join(value.split("\n\n")[0].split())
        found[key] = _named(value) if key in ("properties", "$defs") else _plain(value)
    return found


def _named(parts: Any) -> Any:
    """Schemas by name: a field may be called ``title``."""
    return (
        {name: _plain(part) for name, part in parts.items()} if isinstance(parts, dict) else parts
    )


def newer_than_this(written: Any) -> str | None:
    """What a newer OptiKIT wrote, in words; None: nothing.

    Args:
        written: the versions that stand in what is read, by schema; anything else says nothing.

    >>> newer_than_this({"record": 99})
    'a newer OptiKIT wrote it (record version 99, this one reads 1)'
    """
    if not isinstance(written, dict):
        return None
    for name, mine in SCHEMAS.items():
        theirs = written.get(name)
        if isinstance(theirs, int) and theirs > mine:
            return f"a newer OptiKIT wrote it ({name} version {theirs}, this one reads {mine})"
    return None
