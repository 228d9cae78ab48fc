"""How the store writes: copies that are hashed as they are made, files that appear whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optikit.adapters.disk import sync
from optikit.adapters.files import open_inside

__all__ = ["copy_file", "held", "link_file", "replace", "sync_folders", "write_new"]

_CHUNK = 1 << 20


@contextmanager
def held(folder: Path, alone: bool) -> Iterator[None]:
    """Hold a folder's lock: together with others, or alone and waiting until they let go.

    Where the file system has no locks, or may not be written, nothing is held.
    """
    handle = None
    with contextlib.suppress(OSError):  # a read-only disk; ENOLCK of some network disks
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def copy_file(source: Path, copy: Path, roots: Sequence[str] | None) -> tuple[int, str]:
    sha = hashlib.sha256()
    with open_inside(source, roots, "the content store") as reader, copy.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            sha.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fchmod(writer.fileno(), 0o444)  # bundles link to it: nobody edits it by accident
        os.fsync(writer.fileno())
        return writer.tell(), sha.hexdigest()


def link_file(source: Path, link: Path) -> bool:
    """A second name for a file; False where the file system has none to give."""
    try:
        os.link(source.resolve(), link)
    except OSError:
        return False
    with link.open("rb") as file:
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
    return True


def sync_folders(root: Path) -> None:
    for base, _, _ in os.walk(root):
        sync(Path(base))


def write_new(path: Path, text: str) -> bool:
    """Write a whole file under a name that must be free; False where it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".new-", encoding="utf-8") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
        try:
            os.link(new.name, path)  # unlike a rename, it never replaces what is there
        except FileExistsError:
            return False
    path.chmod(0o644)
    sync(path.parent)
    return True


def replace(path: Path, text: str) -> None:
    """Write a whole file over the one that is there."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".new-", encoding="utf-8", delete=False
    ) as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    Path(new.name).chmod(0o644)
    Path(new.name).replace(path)
    sync(path.parent)
