from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optikit.core.calibration import Ready, TokenStatistics
from optikit.errors import DatasetError, UnsafeInput
from optikit.stores.datasets import read_texts

CHAT = [{"role": "user", "content": "Why?"}]


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
    assert found.skipped == {"empty": 1, "no text field": 1, "not text": 1}


def test_a_field_is_looked_for_in_more_than_the_first_row(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"id": 1}, {"id": 2, "prompt": "x", "messages": []}])
    with (tmp_path / "a.jsonl").open("a") as more:
        more.write(json.dumps({"prompt": "x", "messages": CHAT}) + "\n")
    found = read_texts(tmp_path)
    assert (found.field, len(found.chats)) == ("messages", 1)
    assert found.skipped == {"no text field": 1, "empty": 1}


def test_chats_are_kept_as_chats_and_bad_ones_counted(tmp_path: Path) -> None:
    longer = [*CHAT, {"role": "assistant", "content": "Because."}]
    bad = [[{"role": "user"}], ["hello"], 3]
    rows: list[object] = [{"messages": m} for m in (CHAT, longer, CHAT, [], None, *bad)]
    jsonl(tmp_path / "a.jsonl", rows)
    found = read_texts(tmp_path)
    assert [chat.messages for chat in found.chats] == [tuple(CHAT), tuple(longer)]
    assert (found.texts, found.rows, found.field) == ((), 8, "messages")
    assert found.skipped == {"duplicate": 1, "empty": 2, "malformed chat": 3}


def test_only_malformed_chats_say_what_is_wrong_with_the_first(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"messages": [{"role": "user", "content": 3}]}])
    with pytest.raises(DatasetError, match=r"malformed chat': 1.*a.jsonl row 1: .*found int"):
        read_texts(tmp_path)


def test_chats_of_parquet_have_no_keys_without_a_value(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "Why?", "name": None}
    chat = [asked, {"role": "tool", "content": "noon", "name": "clock"}]
    pq.write_table(pa.table({"conversation": [chat]}), tmp_path / "a.parquet")
    (one,) = read_texts(tmp_path).chats
    assert one.messages == (
        {"role": "user", "content": "Why?"},
        {"role": "tool", "content": "noon", "name": "clock"},
    )


def test_a_chat_field_is_named(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"turns": CHAT, "text": "x"}])
    assert read_texts(tmp_path).texts == ("x",)
    (chat,) = read_texts(tmp_path, "turns").chats
    assert chat.messages == tuple(CHAT)


def test_pairs_are_one_turn_each_and_can_be_named(tmp_path: Path) -> None:
    keys = ("instruction", "input", "output")
    rows = [("Sort.", "2 1", "1 2"), ("Why?", "", "Because."), ("Why?", None, ""), ("Why?", "", 3)]
    jsonl(tmp_path / "a.jsonl", [dict(zip(keys, row, strict=True)) for row in rows])
    found = read_texts(tmp_path)
    assert found.field == "instruction+input+output"
    assert [[m["content"] for m in c.messages] for c in found.chats] == [
        ["Sort.\n\n2 1", "1 2"],
        ["Why?", "Because."],
    ]
    assert found.skipped == {"empty": 1, "not text": 1}
    named = read_texts(tmp_path, "instruction+output")
    assert [chat.messages[0]["content"] for chat in named.chats] == ["Sort.", "Why?"]
    with pytest.raises(DatasetError, match=r"'a\+b'"):
        read_texts(tmp_path, "a+b")


def test_bytes_that_are_no_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "tea"}\n')
    (tmp_path / "b.txt").write_bytes(b"caf\xe9\n\n\n\nwater\r\n\r\nmilk")
    found = read_texts(tmp_path)
    assert found.texts == ("tea", "water", "milk")
    assert found.skipped == {"not text": 2}


def test_the_facts_add_what_the_tokenizer_left_out(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": text} for text in ("one", "two", "two", "", "3")])
    found = read_texts(tmp_path)
    statistics = TokenStatistics(np.array([9, 8]), np.array([5, 5]), max_tokens=8)
    facts = found.facts(Ready(("one", "two"), statistics, {"no tokens": 1, "duplicate": 1}))
    assert facts.model_dump() == {
        "rows": 5,
        "usable": 2,
        "skipped": {"duplicate": 2, "empty": 1, "no tokens": 1},
        "cut": 1,
        "field": "text",
    }


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
