"""Writes a bundle's folder: under a temporary name first, so that a bundle is whole or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optikit.adapters.disk import sync

__all__ = ["appearing", "link_file", "link_tree", "write_text"]


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``target`` when the block ends well, in place of an older one.

    Where the block raises, nothing is left and an older ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed here
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield work
        work.chmod(0o755)
        sync(work)
        if target.exists():
            old = work.with_name(f"{work.name}.old")
            target.rename(old)
            work.rename(target)
            shutil.rmtree(old)
        else:
            work.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def link_tree(source: Path, target: Path) -> None:
    """``source``'s files under ``target``: a second name each, a copy where that cannot be."""
    for base, _, names in os.walk(source):
        folder = target / Path(base).relative_to(source)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            link_file(Path(base) / name, folder / name)


def link_file(source: Path, target: Path) -> None:
    """A second name for a file, a copy where the file system has none to give."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file to the disk."""
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
