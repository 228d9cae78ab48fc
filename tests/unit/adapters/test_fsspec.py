"""A folder elsewhere, on fsspec's file system in memory and on one that fails as told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from optikit.adapters.fsspec import Folder, opened
from optikit.errors import BadInput, OptikitError, SourceError


@pytest.fixture
def fs() -> Iterator[MemoryFileSystem]:
    found = MemoryFileSystem()
    found.store.clear()
    found.pseudo_dirs[:] = [""]
    yield found
    found.store.clear()


def test_a_folder_is_its_files_by_relative_name(fs: MemoryFileSystem) -> None:
    fs.pipe({"/m/config.json": b"{}", "/m/sub/w.bin": b"12345", "/other": b"x"})
    folder = Folder(fs, "/m/", "memory://m")
    files = folder.files()
    assert {name: file.size for name, file in files.items()} == {"config.json": 2, "sub/w.bin": 5}
    assert folder.read("sub/w.bin", 1, 4) == b"234"


def test_an_address_of_one_file_is_a_folder_with_it(fs: MemoryFileSystem) -> None:
    fs.pipe({"/d/rows.jsonl": b"abc", "/d/rows.jsonl.old": b"no"})
    folder = Folder(fs, "/d/rows.jsonl", "memory://d/rows.jsonl")
    assert list(folder.files()) == ["rows.jsonl"]
    assert folder.read("rows.jsonl", 0, 3) == b"abc"


@pytest.mark.parametrize(
    "info",
    [
        {"LastModified": datetime(2026, 11, 27, 12, 0, 1, tzinfo=UTC)},  # S3
        {"modificationTime": 1795780801000, "mtime": None},  # WebHDFS
        {"mtime": 1795780801.0},  # a local disk
    ],
)
def test_when_a_file_was_written_is_known_from_every_kind(
    fs: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, info: dict[str, Any]
) -> None:
    monkeypatch.setattr(fs, "find", lambda *_, **more: {"/m/a": {"size": 1, **info}})
    assert Folder(fs, "/m", "memory://m").files()["a"].changed_s == 1795780801.0


def test_nothing_there(fs: MemoryFileSystem) -> None:
    with pytest.raises(BadInput, match="memory://none: nothing is there"):
        Folder(fs, "/none", "memory://none").files()


def test_a_file_that_became_shorter_is_no_whole_part(fs: MemoryFileSystem) -> None:
    fs.pipe("/m/a", b"12345")
    folder = Folder(fs, "/m", "memory://m")
    folder.files()
    fs.pipe("/m/a", b"12")
    with pytest.raises(SourceError, match="a gave 2 bytes of 5"):
        folder.read("a", 0, 5)


def test_a_file_appears_under_its_name_when_it_is_whole(
    fs: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"new")
    fs.pipe("/m/a", b"old")
    seen: list[list[str]] = []
    put = fs.put_file

    def watched(local: str, remote: str, **more: Any) -> None:
        put(local, remote, **more)
        seen.append(sorted(fs.find("/m")))

    monkeypatch.setattr(fs, "put_file", watched)
    Folder(fs, "/m", "memory://m").write("a", source)
    assert any(name.endswith(".part") for name in seen[0])
    assert fs.cat_file("/m/a") == b"new"
    assert fs.find("/m") == ["/m/a"]


def test_a_file_is_taken_away(fs: MemoryFileSystem) -> None:
    fs.pipe({"/m/a": b"123", "/m/b": b"4"})
    folder = Folder(fs, "/m", "memory://m")
    folder.remove("a")
    assert fs.find("/m") == ["/m/b"]
    with pytest.raises(BadInput, match="memory://m: nothing is there"):
        folder.remove("a")


def test_a_place_with_a_put_of_its_own_gets_the_file_by_it(
    fs: MemoryFileSystem, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"new")
    put: list[tuple[Path, str]] = []
    folder = Folder(fs, "/m", "memory://m", put=lambda source, target: put.append((source, target)))
    folder.write("a", tmp_path / "a")
    assert put == [(tmp_path / "a", "/m/a")]
    assert fs.find("/") == []


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (FileNotFoundError("gone"), BadInput, "nothing is there"),
        (PermissionError("no"), BadInput, "refuses who asks"),
        (ConnectionRefusedError("away"), SourceError, "ConnectionRefusedError: away"),
        (TimeoutError("slow"), SourceError, "TimeoutError: slow"),
    ],
)
def test_each_failure_is_said_for_what_it_is(
    fs: MemoryFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    kind: type[OptikitError],
    words: str,
) -> None:
    def find(*args: Any, **more: Any) -> None:
        raise raised

    monkeypatch.setattr(fs, "find", find)
    with pytest.raises(kind, match=f"^memory://m: .*{words}"):
        Folder(fs, "/m", "memory://m").files()


def test_a_library_that_is_missing_names_its_extra() -> None:
    with pytest.raises(OptikitError, match=r"dropbox:// needs a library .*optikit\[s3\]"):
        opened("dropbox", "s3")
