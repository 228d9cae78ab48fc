from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from optikit.adapters.disk import TRASH, delete, free_bytes, put_away, same_disk, usage
from optikit.errors import ArchiveError


def write(path: Path, size: int = 10_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def test_bytes_on_the_disk_are_counted_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a" / "one")
    alone = usage(tmp_path / "a")
    assert alone.bytes >= 10_000
    os.link(file, tmp_path / "a" / "two")
    again = usage(tmp_path / "a")
    assert again.bytes == alone.bytes
    assert again.freed == alone.freed, "both names are in the folder"
    assert len(again.files) == 1


def test_a_file_with_a_name_elsewhere_frees_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "a" / "one")
    os.link(file, tmp_path / "elsewhere")
    found = usage(tmp_path / "a")
    assert found.bytes - found.freed >= 10_000


def test_links_are_not_followed_and_nothing_there_is_nothing(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "large", 100_000)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "outside")
    assert usage(tmp_path / "a").bytes < 50_000
    assert usage(tmp_path / "nowhere").bytes == 0


def test_room_and_disk_of_a_place_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.2
    )
    assert same_disk(tmp_path / "a" / "b", tmp_path / "c")
    assert not same_disk(Path("/proc"), tmp_path)


def test_a_folder_goes_by_its_name_first(tmp_path: Path) -> None:
    write(tmp_path / "jobs" / "one" / "file")
    away = put_away(tmp_path / "jobs" / "one")
    assert not (tmp_path / "jobs" / "one").exists()
    assert away.parent == tmp_path / "jobs" / TRASH
    assert (away / "file").exists()
    delete(away)
    assert not away.exists()
    delete(away)


def test_one_that_dies_while_it_deletes_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "one" / "a")
    write(tmp_path / "one" / "b")

    def dies(path: Path, **_: object) -> None:
        (path / "a").unlink()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", dies)
    with pytest.raises(ArchiveError, match="Input/output error"):
        delete(put_away(tmp_path / "one"))
    assert not (tmp_path / "one").exists()
    (left,) = (tmp_path / TRASH).iterdir()
    assert [path.name for path in left.iterdir()] == ["b"]
    monkeypatch.undo()
    delete(left)
    assert list((tmp_path / TRASH).iterdir()) == []


def test_what_cannot_be_moved_is_whole_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot remove"):
        put_away(tmp_path / "nowhere")
    (tmp_path / TRASH).rmdir()
    write(tmp_path / TRASH)  # a file in the way
    folder = write(tmp_path / "one" / "a").parent
    with pytest.raises(ArchiveError, match="cannot remove"):
        put_away(folder)
    assert (folder / "a").exists()
