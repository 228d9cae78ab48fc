from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from optikit.errors import DiskFull
from optikit.recipes import _whole
from optikit.recipes._whole import save_with_room, whole

LOST = "it starts again"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class FromTheLibrary(Exception):
    """As safetensors raises: no OSError, only the text."""


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Saves:
    """Writes a file; the first ``failing`` times it then meets ``error``."""

    def __init__(self, out: Path, failing: int, error: Exception) -> None:
        self.out = out
        self.failing = failing
        self.error = error
        self.calls = 0
        self.restored = 0
        self.found_before: list[list[str]] = []

    def save(self) -> None:
        self.calls += 1
        self.found_before.append(sorted(path.name for path in self.out.iterdir()))
        (self.out / "model.safetensors").write_text("x" * self.calls)
        (self.out / "sub").mkdir()
        if self.calls <= self.failing:
            raise self.error

    def restore(self) -> None:
        self.restored += 1


def write_and_fail(out: Path, content: bytes, error: BaseException) -> None:
    with whole(out, LOST):
        (out / "file").write_bytes(content)
        raise error


def run(saves: Saves, needed: int = 10) -> None:
    save_with_room(saves.save, saves.restore, saves.out, needed, LOST, keep=("kept",))


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_whole, "WAIT_S", 0.0)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "kept").write_text("")
    return folder


def test_what_ends_well_stays(tmp_path: Path) -> None:
    with whole(tmp_path / "a/out", LOST):
        (tmp_path / "a/out/file").write_text("1")
    assert (tmp_path / "a/out/file").read_text() == "1"


def test_a_folder_that_is_there_already_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("1")
    with pytest.raises(FileExistsError), whole(tmp_path, LOST):
        pass
    assert (tmp_path / "mine").read_text() == "1"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), DiskFull("said")])
def test_any_failure_leaves_nothing_and_goes_on_as_it_is(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)) as found:
        write_and_fail(tmp_path / "out", b"1", error)
    assert found.value is error
    assert list(tmp_path.iterdir()) == []


def chained() -> Exception:
    try:
        try:
            raise full()
        except OSError as first:
            raise RuntimeError("while packing") from first
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        full(),
        OSError(errno.EDQUOT, "quota"),
        FromTheLibrary("Error while serializing: No space left on device (os error 28)"),
        chained(),
    ],
)
def test_a_full_disk_is_one_error_that_says_where_how_much_and_what_is_lost(
    tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(DiskFull) as found:
        write_and_fail(tmp_path / "out", b"0" * 3 * 2**20, error)
    told = str(found.value)
    assert str(tmp_path) in told
    assert "more than 3.0 MiB" in told
    assert told.endswith(LOST)
    assert found.value.__cause__ is error
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_works_is_done_once(out: Path) -> None:
    saves = Saves(out, 0, full())
    run(saves)
    assert (saves.calls, saves.restored) == (1, 0)


def test_a_save_on_a_full_disk_is_tried_again_when_room_came_back(out: Path) -> None:
    saves = Saves(out, 1, full())
    run(saves)
    assert (saves.calls, saves.restored) == (2, 1)
    assert saves.found_before == [["kept"], ["kept"]]
    assert (out / "model.safetensors").read_text() == "xx"


def test_without_room_it_is_not_tried_again(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(100, 95, 5))
    saves = Saves(out, 1, FromTheLibrary("No space left on device"))
    with pytest.raises(DiskFull, match=LOST):
        run(saves)
    assert (saves.calls, saves.restored) == (1, 0)
    assert [path.name for path in out.iterdir()] == ["kept"]


def test_it_waits_for_room(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([5, 5, 50])
    slept: list[float] = []
    monkeypatch.setattr(_whole, "WAIT_S", 1e6)
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(100, 0, next(free)))
    monkeypatch.setattr("time.sleep", slept.append)
    saves = Saves(out, 1, full())
    run(saves)
    assert (saves.calls, len(slept)) == (2, 2)


def test_a_second_full_disk_ends_it(out: Path) -> None:
    saves = Saves(out, 2, full())
    with pytest.raises(DiskFull):
        run(saves)
    assert (saves.calls, saves.restored) == (2, 1)


def test_another_error_is_not_taken_for_a_full_disk(out: Path) -> None:
    saves = Saves(out, 1, ValueError("shape"))
    with pytest.raises(ValueError, match="shape"):
        run(saves)
    assert saves.calls == 1
