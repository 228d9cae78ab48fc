from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from optikit.journal import Journaled, raw_digest, write_json, write_whole


@dataclass(frozen=True)
class Folder(Journaled):
    """A history in a folder."""

    place: Path

    @property
    def root(self) -> Path:
        return self.place


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


def test_secrets_of_the_environment_are_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("PGPASSWORD", tmp_path.name)  # part of the path: it stays readable
    folder = Folder(tmp_path)
    folder.event("note", text="no access with hf_0123456789", deep={"a": ["x hf_0123456789"]})
    write_json(tmp_path / "facts.json", {"token": "hf_0123456789", "path": str(tmp_path)})
    assert all(b"hf_0123" not in file.read_bytes() for file in tmp_path.iterdir())
    event = next(folder.events())
    assert event["text"] == "no access with [redacted]"
    assert json.loads((tmp_path / "facts.json").read_text())["path"] == str(tmp_path)
