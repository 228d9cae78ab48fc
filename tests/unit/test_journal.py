from __future__ import annotations

import hashlib
from pathlib import Path

from optikit.journal import raw_digest, write_json, write_whole


def test_the_digest_is_that_of_the_files_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "probe-01.jsonl").write_text("a\n")
    (tmp_path / "probe-02.jsonl").write_text("b\n")
    names = ["probe-01.jsonl", "probe-02.jsonl"]
    whole = hashlib.sha256(b"a\nb\n").hexdigest()
    assert raw_digest(tmp_path, names) == f"sha256:{whole}"
    assert raw_digest(tmp_path, names) != raw_digest(tmp_path, names[::-1])


def test_there_is_no_digest_of_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "probe-01.jsonl").write_text("a\n")
    assert raw_digest(tmp_path, ["probe-01.jsonl", "probe-02.jsonl"]) is None
    assert raw_digest(tmp_path, ["probe-01.jsonl", None]) is None
    assert raw_digest(tmp_path, []) is None


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "old")
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    assert (tmp_path / "a").read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
