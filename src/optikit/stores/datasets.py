"""Calibration texts and chats from a file or folder of JSONL, parquet or plain text."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from optikit.core.chats import CHAT_FIELDS, TEXT_FIELDS, Chat, chat_of, chat_of_pair, find_field
from optikit.errors import DatasetError, UnsafeInput
from optikit.stores._rows import SUFFIXES, rows_of
from optikit.stores.base import Texts

__all__ = ["SUFFIXES", "dataset_files", "read_texts"]

_HEAD = 1000
"""Rows that are looked at to find the field."""


class _LeftOut(Exception):
    """A row that is not used; its first argument is the reason that is counted."""


def dataset_files(path: Path) -> list[Path]:
    """The dataset's files, sorted.

    Raises:
        DatasetError: no such path, or no file of a known kind.
        UnsafeInput: a link that leads out of the folder.
    """
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    else:
        raise DatasetError(
            f"dataset: asked {path}, which does not exist here ({Path.cwd()}); "
            "name a file or folder of .jsonl, .parquet or .txt"
        )
    root = path.resolve()
    for file in found:
        if not file.resolve().is_relative_to(root):
            raise UnsafeInput(
                f"dataset: {file} is a link that leaves {path}; copy the file instead"
            )
    if not found or found[0].suffix not in SUFFIXES:
        raise DatasetError(f"dataset: {path} holds no file of {', '.join(SUFFIXES)}")
    return found


def read_texts(path: Path, text_field: str | None = None) -> Texts:
    """All usable texts and chats, in the order of the files' names and rows.

    Files are read as a stream; of what they hold, each different text or chat is kept once.

    Args:
        text_field: the field that holds the text or the chat, or several joined by ``+``: the last
            one is the answer to the others. None: see core/chats.py; it is looked for in the first
            1,000 rows.

    Raises:
        DatasetError: no text field (names the fields seen), a row that cannot be read (names file
            and line), or no usable text at all.
    """
    files = dataset_files(path)
    head = _head(files)
    field = text_field or find_field([row for _, row in head])
    missing = _no_field(*head[0], text_field) if head else ""
    if field is None and missing and all(file.suffix != ".txt" for file in files):
        raise DatasetError(missing)
    skipped: Counter[str] = Counter()
    seen: set[bytes] = set()
    texts: list[str] = []
    chats: list[Chat] = []
    rows, first = 0, ""
    for file in files:
        for row in rows_of(file):
            rows += 1
            try:
                value = row if isinstance(row, str) else _value(row, field)
                mark = _mark(value)
                if mark in seen:
                    raise _LeftOut("duplicate")
            except _LeftOut as left_out:
                reason, *why = left_out.args
                skipped[reason] += 1
                first = first or (f"; {file} row {rows}: {why[0]}" if why else "")
                continue
            seen.add(mark)
            if isinstance(value, Chat):
                chats.append(value)
            else:
                texts.append(value)
    if rows and skipped["no text field"] == rows:
        raise DatasetError(missing)
    if not texts and not chats:
        raise DatasetError(
            f"dataset: {path} has no usable text: {rows} rows read, left out {dict(skipped)}{first}"
        )
    return Texts(tuple(texts), rows, dict(skipped), field, tuple(chats))


def _head(files: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """The first objects, and the files they are in."""
    tables = (file for file in files if file.suffix != ".txt")
    rows = ((file, row) for file in tables for row in rows_of(file) if isinstance(row, dict))
    return list(islice(rows, _HEAD))


def _value(row: dict[str, Any], field: str | None) -> str | Chat:
    if field is None:
        raise _LeftOut("no text field")
    if field in row:
        value = row[field]
        if isinstance(value, list):
            return _chat(chat_of, value, row.get("tools"))
        if value is None:
            raise _LeftOut("empty")
        if field in CHAT_FIELDS and not isinstance(value, str):
            raise _LeftOut("malformed chat", f"{field} is {type(value).__name__}, not a list")
        return _text(value)
    *asked, last = field.split("+")
    if not asked or asked[0] not in row or last not in row:
        raise _LeftOut("no text field")
    parts = [row.get(name) for name in asked]
    for part in (parts[0], row[last]):
        if part is None or part == [] or (isinstance(part, str) and not part.strip()):
            raise _LeftOut("empty")
    if not isinstance(row[last], str | list):
        raise _LeftOut("not text")
    return _chat(chat_of_pair, parts, row[last])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _LeftOut("not text")
    if not value.strip():
        raise _LeftOut("empty")
    return value


def _chat(make: Any, *parts: object) -> Chat:
    try:
        chat: Chat = make(*parts)
    except ValueError as error:
        raise _LeftOut("malformed chat", str(error)) from None
    if chat.blank:
        raise _LeftOut("empty")
    return chat


def _mark(value: str | Chat) -> bytes:
    """Tells equal rows apart without keeping them twice.

    A lone surrogate is in no encoding, and no tokenizer takes it: such a row is no text.
    """
    if isinstance(value, str):
        whole = "t" + _text(value)
    else:
        facts = [value.messages, value.tools]
        whole = "c" + json.dumps(facts, ensure_ascii=False, sort_keys=True, default=str)
    try:
        return hashlib.blake2b(whole.encode(), digest_size=16).digest()
    except UnicodeEncodeError:
        raise _LeftOut("not text") from None


def _no_field(file: Path, row: dict[str, Any], field: str | None) -> str:
    seen = ", ".join(f"{name} ({type(value).__name__})" for name, value in row.items()) or "none"
    usual = ", ".join((*CHAT_FIELDS, *TEXT_FIELDS))
    asked = f"the field {field!r}" if field else f"a text field (usual names: {usual})"
    return f"dataset: {file} has not {asked}; fields seen: {seen}. Name it in dataset.text_field."
