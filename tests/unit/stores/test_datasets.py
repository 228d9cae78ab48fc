from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optikit.errors import DatasetError, UnsafeInput
from optikit.stores.datasets import read_texts


def jsonl(path: Path, rows: list[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_all_three_kinds_in_one_folder(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": "one", "id": 1}, {"text": "two", "id": 2}])
    pq.write_table(pa.table({"text": ["three", "four"]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("five\nand more\n\nsix\n")
    (tmp_path / "README.md").write_text("no data")
    found = read_texts(tmp_path)
    assert found.texts == ("one", "two", "three", "four", "five\nand more", "six")
    assert (found.rows, found.skipped, found.field) == (6, {}, "text")


def test_rows_are_left_out_by_reason_and_counted(tmp_path: Path) -> None:
    rows = [{"text": t} for t in ("one", "", "  ", None, 7, "one", "two")]
    jsonl(tmp_path / "a.jsonl", list(rows))
    found = read_texts(tmp_path / "a.jsonl")
    assert found.texts == ("one", "two")
    assert found.rows == 7
    assert found.skipped == {"empty": 3, "not text": 1, "duplicate": 1}


def test_the_field_is_found_or_named(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"id": 1, "poem": "roses"}])
    assert read_texts(tmp_path).field == "poem"
    jsonl(tmp_path / "a.jsonl", [{"left": "a", "right": "b"}])
    with pytest.raises(DatasetError, match=r"left \(str\), right \(str\).*text_field"):
        read_texts(tmp_path)
    assert read_texts(tmp_path, "right").texts == ("b",)
    with pytest.raises(DatasetError, match="'middle'"):
        read_texts(tmp_path, "middle")


def test_no_text_field_names_what_is_there(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"number": 1}])
    with pytest.raises(DatasetError, match=r"number \(int\)"):
        read_texts(tmp_path)


@pytest.mark.parametrize(("line", "word"), [("{", "line 2"), ("3", "found int")])
def test_a_damaged_line_is_named(tmp_path: Path, line: str, word: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n' + line + "\n")
    with pytest.raises(DatasetError, match=word):
        read_texts(tmp_path)


def test_a_row_without_the_field_is_left_out_not_the_dataset(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": None}, {"text": "one"}, {"other": 3}, {"text": "\ud800"}])
    found = read_texts(tmp_path)
    assert found.texts == ("one",)
    assert found.skipped == {"no text field": 2, "not text": 1}


def test_a_broken_parquet_and_an_endless_row_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DatasetError, match=r"a.parquet is no whole parquet"):
        read_texts(tmp_path)
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "a.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(DatasetError, match="line 1"):
        read_texts(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_texts(tmp_path / "no")
    with pytest.raises(DatasetError, match=r"holds no file of .jsonl"):
        read_texts(tmp_path)
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DatasetError, match="holds no file"):
        read_texts(tmp_path / "a.csv")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").symlink_to(outside)
    with pytest.raises(UnsafeInput, match="leaves"):
        read_texts(tmp_path / "data")
