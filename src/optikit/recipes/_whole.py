"""A checkpoint is written whole or not at all; a full disk is one clear error."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from optikit.errors import DiskFull

__all__ = ["save_with_room", "whole"]

WAIT_S = 10.0
"""How long a save waits for room before it is given up: another candidate may be going."""
_POLL_S = 0.5
_MIB = 2**20


class whole:  # noqa: N801 - used as a context, like contextlib's
    """What the block writes under ``out`` stays if the block ends well; else nothing stays.

    Args:
        lost: what has to be repeated after a full disk, as the end of a message.

    Raises:
        DiskFull: in place of an error that a full disk is behind.
    """

    def __init__(self, out: Path, lost: str) -> None:
        self._out = out
        self._lost = lost

    def __enter__(self) -> None:
        self._out.mkdir(parents=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        found = _is_full(error) and not isinstance(error, DiskFull)
        written = _size(self._out) if found else 0
        shutil.rmtree(self._out, ignore_errors=True)
        if found:
            raise _no_room(self._out, written, self._lost, "more than ") from error


class _FullDisk:
    """Holds back an error that a full disk is behind; any other goes on."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.error = error if _is_full(error) else None
        return self.error is not None


def save_with_room(
    save: Callable[[], None],
    restore: Callable[[], None],
    out: Path,
    needed: int,
    lost: str,
    keep: tuple[str, ...] = (),
) -> None:
    """Save; on a full disk clear what was written, and save once more if room has come back.

    Args:
        save: writes files under ``out``.
        restore: makes a second ``save`` possible after one that failed.
        needed: bytes that the files take.
        lost: what has to be repeated if there is no room, as the end of a message.
        keep: names in ``out`` that are not the save's.

    Raises:
        DiskFull: no room at the second try either, or none within ``WAIT_S``.
    """
    with _FullDisk() as first:
        save()
    if first.error is None:
        return
    _clear(out, keep)
    if not _comes_back(out, needed):
        raise _no_room(out, needed, lost) from first.error
    restore()
    with _FullDisk() as second:
        save()
    if second.error is not None:
        raise _no_room(out, needed, lost) from second.error


def _comes_back(out: Path, needed: int) -> bool:
    deadline = time.monotonic() + WAIT_S
    while _free(out) < needed:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _clear(out: Path, keep: tuple[str, ...]) -> None:
    for path in list(out.iterdir()):
        if path.name in keep:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind the error; safetensors and shutil hand on only its text."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _no_room(out: Path, needed: int, lost: str, about: str = "") -> DiskFull:
    return DiskFull(
        f"no room for a checkpoint in {out.parent}: it needs {about}{needed / _MIB:,.1f} MiB, "
        f"{_free(out) / _MIB:,.1f} MiB is free, and nothing of it was left there. Free some space, "
        f"or use a folder on a larger disk; {lost}"
    )


def _free(out: Path) -> int:
    return shutil.disk_usage(out if out.exists() else out.parent).free


def _size(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files)
