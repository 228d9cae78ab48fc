"""What a disk holds and has left, and folders that go away whole: renamed first, then deleted.

A process that is killed while it deletes leaves a folder under ``.trash`` beside the one that was
meant, never half of it under its name.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optikit.errors import ArchiveError

__all__ = ["TRASH", "Usage", "delete", "free_bytes", "put_away", "same_disk", "sync", "usage"]

TRASH = ".trash"
_BLOCK = 512
"""Bytes that ``st_blocks`` counts in, whatever the file system's own block is."""


@dataclass(frozen=True)
class Usage:
    """What lies below a folder."""

    bytes: int = 0
    """On the disk, a file with several names counted once."""
    freed: int = 0
    """Of these, what deleting the folder gives back: no file that has a name elsewhere."""
    files: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of each file."""


def usage(folder: Path) -> Usage:
    """Bytes and files below a folder, or of one file; what vanishes meanwhile counts nothing."""
    names: dict[tuple[int, int], int] = {}
    facts: dict[tuple[int, int], os.stat_result] = {}
    plain = 0
    for found, is_folder in _all(folder):
        if is_folder:
            plain += found.st_blocks * _BLOCK
            continue
        key = (found.st_dev, found.st_ino)
        names[key] = names.get(key, 0) + 1
        facts[key] = found
    sizes = {key: found.st_blocks * _BLOCK for key, found in facts.items()}
    alone = sum(size for key, size in sizes.items() if facts[key].st_nlink <= names[key])
    return Usage(plain + sum(sizes.values()), plain + alone, frozenset(facts))


def _all(folder: Path) -> Iterator[tuple[os.stat_result, bool]]:
    """Facts of a folder or file and of all below it, and whether each is a folder."""
    waiting = [str(folder)]
    while waiting:
        path = waiting.pop()
        try:
            found = os.lstat(path)
            is_folder = stat.S_ISDIR(found.st_mode)
            if is_folder:
                waiting += [entry.path for entry in os.scandir(path)]
        except OSError:
            continue
        yield found, is_folder


def free_bytes(place: Path) -> int:
    """Bytes that somebody without special rights may still write there.

    Args:
        place: need not be there yet; then its nearest parent is asked.
    """
    return shutil.disk_usage(_nearest(place)).free


def same_disk(one: Path, other: Path) -> bool:
    """Whether both are, or would be, on one file system, where files can have a second name."""
    return _nearest(one).stat().st_dev == _nearest(other).stat().st_dev


def _nearest(place: Path) -> Path:
    place = place.absolute()
    return next(path for path in (place, *place.parents) if path.exists())


def put_away(folder: Path) -> Path:
    """Move a folder (or file) into the trash beside it, for good; where it is now.

    Raises:
        ArchiveError: it cannot be moved; it is whole where it was.
    """
    trash = folder.parent / TRASH
    away = trash / f"{folder.name}.{secrets.token_hex(4)}"
    try:
        trash.mkdir(exist_ok=True)
        folder.rename(away)
        sync(folder.parent)  # before its first file goes: a crash must not bring half of it back
    except OSError as error:
        raise ArchiveError(f"cannot remove {folder}: {error.strerror}") from error
    return away


def delete(path: Path) -> None:
    """Delete a folder or file that is nobody's any more; what is gone already is no error.

    Raises:
        ArchiveError: something of it cannot be deleted.
    """
    try:
        _delete(path)
    except OSError as error:
        raise ArchiveError(f"cannot remove {path}: {error.strerror}") from error


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_gone_is_fine)
    else:
        path.unlink(missing_ok=True)


def _gone_is_fine(function: object, path: str, error: tuple[object, object, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        assert isinstance(error[1], BaseException), "as shutil has it"
        raise error[1]


def sync(folder: Path) -> None:
    """Names that were made, changed or removed in a folder survive a crash from here on."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
