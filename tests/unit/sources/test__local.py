from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from optikit.errors import BadInput, SourceError, UnsafeInput
from optikit.sources._local import LocalFolder
from optikit.stores._transfer import download, upload


def test_files_are_read_in_parts_and_links_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b.txt").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    tree = LocalFolder(folder)
    assert {name: file.size for name, file in tree.files().items()} == {"a/b.txt": 10}
    assert tree.read("a/b.txt", 2, 5) == b"234"
    with pytest.raises(SourceError, match="gave 3 bytes of 5"):
        tree.read("a/b.txt", 7, 12)
    with pytest.raises(BadInput, match="is gone"):
        tree.read("c", 0, 1)


def test_roots_hold_for_what_is_listed_and_read(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "x").write_text("x")
    assert LocalFolder(folder, [str(tmp_path)]).read("x", 0, 1) == b"x"
    outside = LocalFolder(folder, [str(tmp_path / "other")])
    with pytest.raises(UnsafeInput, match="outside the folders"):
        outside.files()
    with pytest.raises(UnsafeInput, match="outside the folders"):
        outside.read("x", 0, 1)


def test_what_was_sent_comes_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "one").write_bytes(b"one")
    (source / "two").write_bytes(b"")
    tree = LocalFolder(tmp_path / "there")
    upload(source, ["sub/one", "two"], tree, 0.0)
    assert sorted(tree.files()) == ["SHA256SUMS", "sub/one", "two"]
    digests = download(tree, tree.files(), tmp_path / "back", 0.0)
    assert digests["sub/one"] == hashlib.sha256(b"one").hexdigest()
    with pytest.raises(BadInput, match="nothing is there"):
        LocalFolder(tmp_path / "nowhere").files()
