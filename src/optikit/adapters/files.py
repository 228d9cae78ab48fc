"""Opens files that a stranger named: what was checked is what is read. Linux (/proc) for roots.

A path is looked at by what it leads to, links resolved, and a file again by what was opened:
between the two somebody may put a link in its place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from optikit.errors import BadInput, UnsafeInput

__all__ = ["copy_inside", "inside", "open_inside"]

_CHUNK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Not blocking: a pipe in the place of a file must not hang its reader."""


def inside(path: Path, roots: Sequence[str] | None, key: str) -> Path:
    """Where a path really leads.

    Args:
        roots: folders below which it must lie; None: anywhere.
        key: what named it, for the message.

    Raises:
        UnsafeInput: it leads outside all of them; whether anything is there is not said.
        BadInput: it is no path at all.
    """
    try:
        real = Path(os.path.realpath(path.expanduser()))
        allowed = roots is None or any(
            real.is_relative_to(os.path.realpath(root)) for root in roots
        )
    except (ValueError, RuntimeError) as error:  # a null byte; a home of nobody
        raise BadInput(f"{key}: {str(path)!r:.120} is no path: {error}") from None
    if not allowed:
        raise UnsafeInput(
            f"{key}: {path} leads outside the folders that this site allows "
            f"({', '.join(roots or ()) or 'none'}); put it below one of them, without links out"
        )
    return real


@contextmanager
def open_inside(path: Path, roots: Sequence[str] | None, key: str) -> Iterator[BufferedReader]:
    """A regular file, opened and then held against the roots by what was opened.

    Raises:
        UnsafeInput: it leads outside all roots.
        BadInput: it is no regular file.
        OSError: it cannot be opened.
    """
    real = inside(path, roots, key)
    handle = os.open(path.expanduser() if roots is None else real, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadInput(f"{key}: {path} is no regular file; give a file with content")
        if roots is not None:
            inside(Path(f"/proc/self/fd/{handle}").readlink(), roots, key)
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def copy_inside(path: Path, target: Path, roots: Sequence[str] | None, key: str) -> None:
    """Copy a file that was checked as it was opened; raises as ``open_inside``."""
    with open_inside(path, roots, key) as source, target.open("xb") as copy:
        while block := source.read(_CHUNK):
            copy.write(block)
