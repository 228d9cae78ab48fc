"""Rows of a dataset's files, read as they come; the one importer of pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optikit.errors import DatasetError

__all__ = ["SUFFIXES", "rows_of"]

SUFFIXES = (".jsonl", ".parquet", ".txt")
_BATCH = 1024


def rows_of(file: Path) -> Iterator[str | dict[str, Any]]:
    """The rows of one file: texts or objects; no more than a batch of them is held.

    Bytes that are no UTF-8 become lone surrogates, so that a reader can tell such a row from text.

    Raises:
        DatasetError: a line that is no JSON object or text (says which), or a damaged parquet.
    """
    if file.suffix == ".txt":
        return _paragraphs(file)
    return _lines(file) if file.suffix == ".jsonl" else _table(file)


def _paragraphs(file: Path) -> Iterator[str]:
    """Texts of a plain file: empty lines divide them."""
    held: list[str] = []
    with file.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if line != "\n":
                held.append(line)
            elif held:
                yield "".join(held).strip()
                held = []
    if held:
        yield "".join(held).strip()


def _lines(file: Path) -> Iterator[str | dict[str, Any]]:
    with file.open(encoding="utf-8", errors="surrogateescape") as lines:
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


def _table(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"dataset: {file} is no whole parquet file: {error}") from None
