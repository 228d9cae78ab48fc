"""Rows of the Hugging Face hub, and tables for llm-compressor: the one importer of datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optikit.errors import DatasetError, OptikitError

__all__ = ["hub_rows", "table"]


def hub_rows(
    name: str, config: str | None, revision: str | None, split: str
) -> Iterator[dict[str, Any]]:
    """The rows of a hub dataset as they stream in.

    The library runs no code of the dataset (it no longer can), and a folder of the same name on
    this machine is not looked at. Images and sounds are not decoded.

    Raises:
        DatasetError: the hub cannot be reached, or has no such dataset, revision or split.
        OptikitError: the library is not installed.
    """
    try:
        import httpx
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise OptikitError(
            f"a dataset of the hub needs the library datasets ({error}); "
            "make setup, or: pip install 'optikit[compress]'"
        ) from error
    rows = 0
    try:
        stream = load_dataset(
            f"hf://datasets/{name}", config, split=split, revision=revision, streaming=True
        )
        for row in stream.decode(False):
            yield dict(row)
            rows += 1
    except (DatasetsError, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        at = f" after {rows} rows" if rows else ""
        raise DatasetError(f"{type(error).__name__}{at}: {_words(error)}") from error


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as the library's in-memory table."""
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows])


def _words(error: BaseException) -> str:
    """The first line of an error, and of the one that began it."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [(str(one).splitlines() or [type(one).__name__])[0][:300] for one in (error, root)]
    return lines[0] if root is error else f"{lines[0]} <- {lines[1]}"
