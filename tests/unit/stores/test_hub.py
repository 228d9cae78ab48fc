from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from optikit.errors import DatasetError
from optikit.stores import hub
from optikit.stores.datasets import read_texts
from optikit.stores.hub import HubDataset, download


class Rows:
    """Stands for the library's call: it says what it was asked and gives these rows."""

    def __init__(self, *rows: dict[str, Any], then: str = "") -> None:
        self.rows, self.then = rows, then
        self.asked: list[tuple[str | None, ...]] = []

    def __call__(
        self, name: str, config: str | None, revision: str | None, split: str
    ) -> Iterator[dict[str, Any]]:
        self.asked.append((name, config, revision, split))
        yield from self.rows
        if self.then:
            raise DatasetError(self.then)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://acme/talk", ("acme/talk", None, None)),
        ("hf://acme/talk-2.0@v1", ("acme/talk-2.0", None, "v1")),
        ("hf://acme/talk/en@refs/pr/3", ("acme/talk", "en", "refs/pr/3")),
    ],
)
def test_an_address_is_read(address: str, parts: tuple[str | None, ...]) -> None:
    found = HubDataset.parse(address)
    assert (found.name, found.config, found.revision) == parts


@pytest.mark.parametrize(
    "address",
    ["hf://talk", "hf://", "hf://../talk", "hf://a/b/c/d", "hf://a/b@", "acme/talk", "hf://a/b c"],
)
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(DatasetError, match="written hf://ORG/NAME"):
        HubDataset.parse(address)


def test_rows_become_a_file_that_is_read_like_any_other(tmp_path: Path) -> None:
    rows = Rows({"text": "one", "day": date(2025, 1, 1)}, {"text": "caf\u00e9"}, {"text": b"x"})
    file = download("hf://acme/talk/en@v1", tmp_path, "test", rows=rows)
    assert rows.asked == [("acme/talk", "en", "v1", "test")]
    assert list(tmp_path.iterdir()) == [file]
    assert json.loads(file.read_text().splitlines()[0])["day"] == {"no text": "date"}
    found = read_texts(file)
    assert found.texts == ("one", "caf\u00e9")
    assert found.skipped == {"not text": 1}


def test_no_more_than_the_first_rows_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_ROWS", 3)

    def endless(*asked: str | None) -> Iterator[dict[str, Any]]:
        return ({"text": f"text {number}"} for number in count())

    file = download("hf://acme/talk", tmp_path, rows=endless)
    assert len(file.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (Rows(then="ConnectionError: no route"), "no route"),
        (Rows({"text": "one"}, then="ConnectionError after 1 rows: gone"), "after 1 rows"),
        (Rows(), "has no rows"),
    ],
)
def test_a_failure_says_what_was_asked_and_leaves_nothing(
    rows: Rows, why: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as caught:
        download("hf://acme/talk@v1", tmp_path, rows=rows)
    for part in ("asked hf://acme/talk@v1 (split 'train')", why, "save the dataset as JSONL"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []
