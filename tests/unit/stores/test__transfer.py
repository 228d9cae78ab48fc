"""Against a tree in memory that breaks off, lies and goes away, as told."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optikit.core.addresses import RemoteFile
from optikit.core.checksums import LIST, PARTIAL_LIST, parse_sums
from optikit.errors import BadInput, SourceError
from optikit.stores import _transfer
from optikit.stores._transfer import download, upload


class Tree:
    """Files in memory."""

    pinned = "memory://there"

    digest: str | None = None

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.reads: list[tuple[str, int]] = []
        self.breaks_after = 10**9
        self.written: list[str] = []
        self.changed: dict[str, float] = {}
        self.removed: list[tuple[str, list[str]]] = []
        self._lock = threading.Lock()

    def files(self) -> dict[str, RemoteFile]:
        return {
            name: RemoteFile(len(data), "1", changed_s=self.changed.get(name))
            for name, data in self.content.items()
        }

    def read(self, name: str, start: int, stop: int) -> bytes:
        with self._lock:
            if len(self.reads) >= self.breaks_after:
                raise SourceError("gone")
            self.reads.append((name, start))
        return self.content[name][start:stop]

    def remove(self, name: str) -> None:
        if self.content.pop(name, None) is None:
            raise BadInput("nothing is there")
        self.removed.append((name, sorted(self.content)))

    def write(self, name: str, source: Path) -> None:
        if self.breaks_after <= len(self.written):
            self.breaks_after += 1
            raise SourceError("gone")
        self.content[name] = source.read_bytes()
        self.written.append(name)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transfer, "PART", 10)
    monkeypatch.setattr(_transfer, "_FIRST_PAUSE_S", 0.001)


def tree() -> Tree:
    return Tree({"a.bin": bytes(range(95)), "sub/b.bin": b"b" * 30, "empty": b""})


def found_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_every_byte_comes_and_nothing_else_stays(tmp_path: Path) -> None:
    there, told = tree(), []
    download(
        there, there.files(), tmp_path / "x", 0.0, lambda done, all_: told.append((done, all_))
    )
    assert found_in(tmp_path / "x") == there.content
    assert told[0] == (0, 125)
    assert told[-1] == (125, 125)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_broke_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    there = tree()
    there.breaks_after = 5
    with pytest.raises(SourceError, match="gone"):
        download(there, there.files(), tmp_path, 0.0)
    first = set(there.reads)
    there.reads, there.breaks_after = [], 10**9
    download(there, there.files(), tmp_path, 0.0)
    assert found_in(tmp_path) == there.content
    assert len(first) == 5
    assert not first & set(there.reads), "a part that was there was moved again"


def test_a_place_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    there = tree()
    there.breaks_after = 3
    back = threading.Timer(0.2, setattr, (there, "breaks_after", 10**9))
    back.start()
    download(there, there.files(), tmp_path, 30.0)
    assert found_in(tmp_path) == there.content


def test_a_file_with_another_digest_is_not_taken_and_all_of_it_moves_again(tmp_path: Path) -> None:
    there = tree()
    files = there.files()
    files["a.bin"] = RemoteFile(95, "1", hashlib.sha256(b"other").hexdigest())
    with pytest.raises(BadInput, match=r"a\.bin is not what its place says"):
        download(there, files, tmp_path, 0.0)
    before = len(there.reads)
    files["a.bin"] = RemoteFile(95, "1", hashlib.sha256(there.content["a.bin"]).hexdigest())
    download(there, files, tmp_path, 0.0)
    assert len(there.reads) == 2 * before
    assert found_in(tmp_path) == there.content


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 35), min_size=1, max_size=5), st.integers(0, 12))
def test_wherever_it_breaks_the_second_attempt_ends_it(
    tmp_path_factory: Any, sizes: list[int], at: int
) -> None:
    folder = tmp_path_factory.mktemp("t")
    there = Tree({f"f{i}": bytes([i]) * size for i, size in enumerate(sizes)})
    there.breaks_after = at
    try:
        download(there, there.files(), folder, 0.0)
    except SourceError:
        there.breaks_after = 10**9
        download(there, there.files(), folder, 0.0)
    assert found_in(folder) == there.content
    assert len(there.reads) == len(set(there.reads))


def test_what_goes_out_is_listed_last_and_sent_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "sub" / "b").write_bytes(b"2")
    there = Tree({})
    digest = upload(tmp_path, ["sub/b", "a"], there, 0.0)
    assert there.written == ["a", "sub/b", LIST]
    assert hashlib.sha256(there.content[LIST]).hexdigest() == digest
    listed = parse_sums(there.content[LIST].decode(), "there")
    assert listed == {
        "a": hashlib.sha256(b"1").hexdigest(),
        "sub/b": hashlib.sha256(b"2").hexdigest(),
    }
    assert upload(tmp_path, ["a", "sub/b"], there, 0.0) == digest
    assert there.written == ["a", "sub/b", LIST], "it was there"
    assert there.removed == []


def test_a_folder_is_not_called_whole_while_a_file_of_it_is_replaced(tmp_path: Path) -> None:
    there = Tree({})
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    upload(tmp_path, ["a", "b"], there, 0.0)
    (tmp_path / "b").write_bytes(b"new")
    there.written = []
    upload(tmp_path, ["a", "b"], there, 0.0)
    assert there.removed == [(LIST, ["a", "b"])]
    assert there.written == ["b", LIST]
    assert there.content["b"] == b"new"


def test_an_upload_that_broke_off_goes_on_by_its_partial_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_transfer, "_LISTED_EVERY", 0)
    names = ["a", "b", "c", "d"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    there = Tree({})
    there.breaks_after = 4  # two files, each with its list
    with pytest.raises(SourceError, match="gone"):
        upload(tmp_path, names, there, -1.0)
    assert set(there.content) == {"a", "b", PARTIAL_LIST}
    (tmp_path / "b").write_bytes(b"B")  # changed here meanwhile, at the same size
    there.written, there.breaks_after = [], 10**9
    upload(tmp_path, names, there, 0.0)
    assert [name for name in there.written if name in names] == ["b", "c", "d"]
    assert set(there.content) == {*names, LIST}
    assert there.content["b"] == b"B"


def test_what_was_changed_there_after_its_list_is_sent_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    there = Tree({})
    upload(tmp_path, ["a"], there, 0.0)
    there.content["a"], there.changed["a"] = b"X", 5.0
    there.changed[LIST] = 4.0
    upload(tmp_path, ["a"], there, 0.0)
    assert there.content["a"] == b"1"


def test_a_list_there_that_is_none_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    there = Tree({"a": b"1", LIST: b"garbage"})
    upload(tmp_path, ["a"], there, 0.0)
    assert there.written == ["a", LIST]


def test_a_sink_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    there = Tree({})
    there.breaks_after = 0
    upload(tmp_path, ["a"], there, 30.0)
    assert set(there.content) == {"a", LIST}
    there.breaks_after = len(there.written)
    (tmp_path / "a").write_bytes(b"2")
    with pytest.raises(SourceError, match="gone"):
        upload(tmp_path, ["a"], there, -1.0)
    assert there.content["a"] == b"1"


@given(st.permutations(range(6)), st.integers(0, 6))
def test_files_are_hashed_whatever_the_order_of_their_parts(
    tmp_path_factory: Any, order: list[int], before: int
) -> None:
    folder = tmp_path_factory.mktemp("h")
    content = {"a": b"x" * 25, "b": b"y" * 30, "empty": b""}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    files = {name: RemoteFile(len(data), "1") for name, data in content.items()}
    parts = list(_transfer._parts(files))
    hasher = _transfer._Hasher(folder, files, parts, set(order[:before]))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(hasher.run)
        for number in order[before:]:
            hasher.arrived(parts[number])
        hasher.end()
        assert running.result(10) == {
            name: hashlib.sha256(data).hexdigest() for name, data in content.items()
        }


def test_what_never_came_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 25)
    files = {"a": RemoteFile(25, "1")}
    hasher = _transfer._Hasher(tmp_path, files, list(_transfer._parts(files)), {0})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(hasher.run)
        hasher.end()
        assert running.result(10) == {}
