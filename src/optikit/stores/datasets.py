"""Calibration text from a file or folder of JSONL, parquet or plain text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optikit.errors import DatasetError, UnsafeInput
from optikit.stores.base import Texts

__all__ = ["SUFFIXES", "dataset_files", "read_texts"]

SUFFIXES = (".jsonl", ".parquet", ".txt")
_LIKELY = ("text", "content", "prompt", "instruction", "question", "document", "body")


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
    """All usable texts, in the order of the files' names and rows.

    Args:
        text_field: the field that holds the text; None: found among usual names, or the only
            field whose values are text.

    Raises:
        DatasetError: no text field (names the fields seen), or no usable text at all.
    """
    skipped: Counter[str] = Counter()
    seen: set[str] = set()
    texts: list[str] = []
    rows, field, first = 0, text_field, ""
    for file in dataset_files(path):
        for row in _rows(file):
            rows += 1
            text = row
            if isinstance(row, dict):
                first = first or _no_field(file, text_field, row)
                field = field or _find_field(row)
                if field is None or field not in row:
                    skipped["no text field"] += 1
                    continue
                text = row[field]
            if text is None or (isinstance(text, str) and not text.strip()):
                skipped["empty"] += 1
            elif not isinstance(text, str) or not _encodes(text):
                skipped["not text"] += 1
            elif text in seen:
                skipped["duplicate"] += 1
            else:
                seen.add(text)
                texts.append(text)
    if skipped["no text field"] == rows and first:
        raise DatasetError(first)
    if not texts:
        raise DatasetError(
            f"dataset: {path} has no usable text: {rows} rows read, left out {dict(skipped)}"
        )
    return Texts(tuple(texts), rows, dict(skipped), field)


def _rows(file: Path) -> Iterator[Any]:
    if file.suffix == ".txt":
        # paragraphs: an empty line divides two texts
        yield from (part.strip() for part in file.read_text(errors="replace").split("\n\n"))
    elif file.suffix == ".jsonl":
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DatasetError(f"dataset: {file} line {number}: {error}") from None
                if not isinstance(row, dict | str):
                    raise DatasetError(
                        f"dataset: {file} line {number}: a row is an object or a text, "
                        f"found {type(row).__name__}"
                    )
                yield row
    else:
        import pyarrow.parquet

        try:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
                yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise DatasetError(f"dataset: {file} is no whole parquet file: {error}") from None


def _encodes(text: str) -> bool:
    """A lone surrogate is in no encoding, and no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _find_field(row: dict[str, Any]) -> str | None:
    likely = [name for name in _LIKELY if isinstance(row.get(name), str)]
    textual = [name for name, value in row.items() if isinstance(value, str)]
    return (likely or textual)[0] if likely or len(textual) == 1 else None


def _no_field(file: Path, field: str | None, row: dict[str, Any]) -> str:
    seen = ", ".join(f"{name} ({type(value).__name__})" for name, value in row.items()) or "none"
    asked = f"the field {field!r}" if field else f"a text field (usual names: {', '.join(_LIKELY)})"
    return f"dataset: {file} has not {asked}; fields seen: {seen}. Name it in dataset.text_field."
