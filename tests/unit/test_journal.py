from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from optikit.errors import ArchiveError, BadInput, DiskFull
from optikit.journal import (
    Journaled,
    event_of,
    has_checksum,
    patiently,
    raw_digest,
    sealed,
    write_json,
    write_whole,
)


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


class Disk:
    """``os.write`` of a disk with so many bytes left; ``None``: as many as anybody wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int | None) -> None:
        self.room, self.write, self.pauses = room, os.write, list[float]()
        monkeypatch.setattr("optikit.journal.os.write", self._write)
        monkeypatch.setattr("optikit.journal.time.sleep", self._sleep)
        monkeypatch.setattr("optikit.journal.time.monotonic", lambda: sum(self.pauses))
        self.frees_after = 10**9

    def _write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self.write(fd, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self.write(fd, data[: self.room])
        self.room -= taken
        return taken

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) >= self.frees_after:
            self.room = None


def test_a_disk_that_takes_a_part_of_a_line_gets_the_rest_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write is no error, and was half an event."""
    notes = Folder(tmp_path)
    real = os.write
    monkeypatch.setattr("optikit.journal.os.write", lambda fd, data: real(fd, data[:7]))
    notes.event("note", text="whole")
    assert [event["text"] for event in notes.events()] == ["whole"]
    assert notes.damaged_lines() == 0


def test_a_full_disk_is_waited_for_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Folder(tmp_path)
    notes.event("note", text="one")
    disk = Disk(monkeypatch, room=20)
    disk.frees_after = 4
    notes.event("note", text="two")
    assert [event["text"] for event in notes.events()] == ["one", "two"]
    assert notes.damaged_lines() == 0
    assert disk.pauses == [0.1, 0.2, 0.4, 0.8]


def test_a_disk_that_stays_full_is_an_error_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Folder(tmp_path)
    notes.event("note", text="one")
    before = notes.journal.read_bytes()
    disk = Disk(monkeypatch, room=3)
    with pytest.raises(DiskFull, match=r"cannot append to .*No space left.*for 120 s.*resume"):
        notes.event("note", text="two")
    assert 120 <= sum(disk.pauses) < 125
    assert notes.journal.read_bytes() == before
    monkeypatch.setenv("OPTIKIT_DISK_PATIENCE_S", "1")
    disk.pauses.clear()
    with pytest.raises(DiskFull, match="for 1 s"):
        notes.event("note", text="two")
    disk.pauses.clear()
    with pytest.raises(DiskFull):
        notes.event_now("note", text="two")
    assert disk.pauses == []


def test_a_read_only_disk_is_an_archive_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("optikit.journal.os.open", refuse)
    with pytest.raises(ArchiveError, match="Read-only"):
        Folder(tmp_path).event_now("note")


def test_another_fault_of_the_disk_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(ArchiveError, match=r"cannot append to .*directory"):
        Folder(tmp_path).event("note")


@pytest.mark.parametrize("told", ["soon", "-1", "nan", "inf"])
def test_a_patience_that_is_none_is_named(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIKIT_DISK_PATIENCE_S", told)
    with pytest.raises(BadInput, match="OPTIKIT_DISK_PATIENCE_S"):
        patiently(lambda: None, "wait")


def test_every_altered_bit_of_a_line_is_seen(tmp_path: Path) -> None:
    """Of an event's content nothing can change unseen; of the seal's own name it may."""
    line = sealed({"t": 5.0, "kind": "trial", "rate": 2.5})
    whole = event_of(line)
    assert whole == {"t": 5.0, "kind": "trial", "rate": 2.5}
    assert has_checksum(line)
    for place in range(len(line) - 1):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[place] ^= 1 << bit
            found = event_of(bytes(flipped))
            if found is not None:
                assert {key: found[key] for key in whole} == whole
                assert not has_checksum(bytes(flipped)) or bytes(flipped) == line


def test_lines_of_older_archives_are_events() -> None:
    assert event_of(b'{"t": 1.0, "kind": "note"}\n') == {"t": 1.0, "kind": "note"}


@pytest.mark.parametrize(
    "line",
    [
        b'{"t": true, "kind": "note"}',
        b'{"t": -1.0, "kind": "note"}',
        b'{"t": 1e300, "kind": "note"}',
        b'{"t": 1.0, "kind": 7}',
        b'{"t": 1.0}',
        b"[1]",
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert event_of(line) is None


def test_what_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "a", "text")
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
