from __future__ import annotations

import os
from pathlib import Path

import pytest

from optikit.adapters.files import copy_inside, inside, open_inside
from optikit.errors import BadInput, UnsafeInput


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "a.txt").write_text("inside")
    (tmp_path / "secret.txt").write_text("outside")
    (tmp_path / "rooted").mkdir()  # begins as the root's name does
    return folder


def test_what_lies_below_a_root_is_allowed(root: Path) -> None:
    assert inside(root / "a.txt", [str(root)], "k") == (root / "a.txt").resolve()
    assert inside(root / "not" / "there", [str(root)], "k").name == "there"
    assert inside(Path("/etc/passwd"), None, "k") == Path("/etc/passwd")


@pytest.mark.parametrize(
    "path", ["../secret.txt", "../rooted", "sub/../../secret.txt", "/etc/passwd", "~", ".."]
)
def test_what_leads_outside_is_refused(root: Path, path: str) -> None:
    with pytest.raises(UnsafeInput, match=r"^dataset\.path: .* leads outside"):
        inside(root / path if path != "~" else Path("~"), [str(root)], "dataset.path")


def test_links_are_followed_before_they_are_judged(root: Path, tmp_path: Path) -> None:
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "round").symlink_to(root / "a.txt")
    with pytest.raises(UnsafeInput):
        inside(root / "out", [str(root)], "k")
    with pytest.raises(UnsafeInput):
        inside(root / "up" / "secret.txt", [str(root)], "k")
    assert inside(root / "round", [str(root)], "k").name == "a.txt"
    linked = tmp_path / "linked root"  # a root may be a link itself
    linked.symlink_to(root)
    assert inside(root / "a.txt", [str(linked)], "k").name == "a.txt"


def test_nothing_is_told_of_what_is_outside(root: Path) -> None:
    said = []
    for path in ("../secret.txt", "../no-such"):
        with pytest.raises(UnsafeInput) as caught:
            inside(root / path, [str(root)], "k")
        said.append(str(caught.value).replace(path, "X"))
    assert said[0] == said[1]


def test_a_path_that_is_none(root: Path) -> None:
    with pytest.raises(BadInput, match="is no path"):
        inside(Path("a\0b"), [str(root)], "k")
    with pytest.raises(BadInput, match="is no path"):
        inside(Path("~nobody-of-that-name/x"), None, "k")


def test_a_file_is_read_from_what_was_checked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody swaps the file for a link right after it was looked at."""
    real_open = os.open

    def swapped(path: Path, flags: int) -> int:
        (root / "a.txt").unlink()
        (root / "a.txt").symlink_to(tmp_path / "secret.txt")
        return real_open(path, flags)

    with open_inside(root / "a.txt", [str(root)], "k") as file:
        assert file.read() == b"inside"
    monkeypatch.setattr(os, "open", swapped)
    with (
        pytest.raises(UnsafeInput, match="leads outside"),
        open_inside(root / "a.txt", [str(root)], "k"),
    ):
        pass


def test_pipes_and_folders_are_no_files_and_do_not_hang(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for name in ("pipe", "."):
        with (
            pytest.raises(BadInput, match="no regular file"),
            open_inside(root / name, [str(root)], "k"),
        ):
            pass


def test_a_copy_is_whole_and_new(root: Path, tmp_path: Path) -> None:
    copy_inside(root / "a.txt", tmp_path / "copy", [str(root)], "k")
    assert (tmp_path / "copy").read_text() == "inside"
    with pytest.raises(FileExistsError):
        copy_inside(root / "a.txt", tmp_path / "copy", [str(root)], "k")
    with pytest.raises(UnsafeInput):
        copy_inside(tmp_path / "secret.txt", tmp_path / "other", [str(root)], "k")
