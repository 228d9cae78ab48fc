"""A dataset of the Hugging Face hub as one JSONL file, for the content-addressed store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from optikit.adapters.datasets import hub_rows
from optikit.errors import DatasetError

__all__ = ["MAX_ROWS", "SCHEME", "HubDataset", "download"]

SCHEME = "hf://"
MAX_ROWS = 100_000
_PART = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(
    rf"(?P<name>{_PART}/{_PART})(/(?P<config>{_PART}))?(@(?P<revision>[\w./-]+))?"
)

Rows = Callable[[str, str | None, str | None, str], Iterator[dict[str, Any]]]
"""Name, config, revision and split to the rows; adapters/datasets.py."""


@dataclass(frozen=True)
class HubDataset:
    """``hf://ORG/NAME``, with an optional ``/CONFIG`` and an optional ``@REVISION``."""

    name: str
    config: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, address: str) -> HubDataset:
        """Read an address.

        Raises:
            DatasetError: it is not of this form.
        """
        found = _ADDRESS.fullmatch(address.removeprefix(SCHEME))
        if found is None or not address.startswith(SCHEME):
            raise DatasetError(
                f"dataset.path: asked {address!r}; a dataset of the hub is written "
                "hf://ORG/NAME, hf://ORG/NAME/CONFIG or either with @REVISION"
            )
        return cls(found["name"], found["config"], found["revision"])


def download(address: str, folder: Path, split: str = "train", *, rows: Rows | None = None) -> Path:
    """Write the first 100,000 rows to ``folder/rows.jsonl``; whole, or no file.

    The same rows give the same bytes. What JSON has no form for (images, dates) is written as an
    object that names its type, so that reading counts it as no text.

    Args:
        address: ``hf://ORG/NAME[/CONFIG][@REVISION]``.
        folder: exists already.
        rows: where rows come from; None: the library.

    Raises:
        DatasetError: no such address, the hub cannot be reached, or there is no such dataset,
            revision or split, or it has no rows.
    """
    asked = HubDataset.parse(address)
    stream = rows or hub_rows
    file, partial = folder / "rows.jsonl", folder / ".rows.jsonl.partial"
    written = 0
    try:
        with partial.open("w", encoding="utf-8") as out:
            found = stream(asked.name, asked.config, asked.revision, split)
            for row in islice(found, MAX_ROWS):
                out.write(json.dumps(row, default=_no_text) + "\n")
                written += 1
        if not written:
            raise DatasetError("it has no rows")
        partial.replace(file)
    except DatasetError as error:
        raise DatasetError(
            f"dataset.path: asked {address} (split {split!r}) of the Hugging Face hub: {error}. "
            "Check name, revision and dataset.split; where the hub cannot be reached, save the "
            "dataset as JSONL or parquet on a machine that can, and give that folder as "
            "dataset.path"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return file


def _no_text(value: object) -> dict[str, str]:
    return {"no text": type(value).__name__}
