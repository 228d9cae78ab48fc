"""Files of a job that its team may fetch: text and figures of its archive and of its bundle.

A job's own code may have written into its folders, so nothing is followed that leads out of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from optikit.archive import JobArchive
from optikit.service.refusals import NotFound
from optikit.spec.record import PublishRecord

__all__ = ["BUNDLE", "TYPES", "files_of", "parts_of"]

TYPES = {
    ".json": "text/plain; charset=utf-8",
    ".jsonl": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".sh": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".yaml": "text/plain; charset=utf-8",
}
"""Names that may be fetched, and how they are shown: no text is ever taken for a page or a
script."""
BUNDLE = "bundle"
"""Before the names of the bundle's files; its model stays where it is."""
_MOST = 5_000
_PART = 256 << 10


def files_of(archive: JobArchive) -> dict[str, int]:
    """Name, below the archive or the bundle, to bytes; at most 5,000 of them."""
    found: dict[str, int] = {}
    for prefix, root, deep in _roots(archive):
        for folder, below, names in os.walk(root, followlinks=False):
            below[:] = sorted(below) if deep else []
            for name in sorted(names):
                path = Path(folder, name)
                with suppress(OSError):
                    facts = path.lstat()
                    if path.suffix in TYPES and stat.S_ISREG(facts.st_mode):
                        found[prefix + path.relative_to(root).as_posix()] = facts.st_size
                if len(found) >= _MOST:
                    return found
    return found


def parts_of(archive: JobArchive, name: str, seen: Callable[[str], str]) -> Iterator[bytes]:
    """A file in parts of whole lines, as many as it has when they are asked for.

    Args:
        name: one of :func:`files_of`.
        seen: takes out of a text what the team may not read.

    Raises:
        NotFound: it is none of them, or is gone.
    """
    return _parts(_opened(archive, name), seen)


def _parts(file: BinaryIO, seen: Callable[[str], str]) -> Iterator[bytes]:
    with file:
        while lines := file.readlines(_PART):
            yield seen(b"".join(lines).decode(errors="replace")).encode(errors="replace")


def _opened(archive: JobArchive, name: str) -> BinaryIO:
    gone = NotFound(f"job {archive.job_id} has no file {name!a:.200}")
    parts = name.split("/")
    if Path(name).suffix not in TYPES or any(part in ("", ".", "..") for part in parts):
        raise gone
    for prefix, root, deep in _roots(archive):
        inside = name.removeprefix(prefix)
        if not name.startswith(prefix) or ("/" in inside and not deep):
            continue
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(root / inside, flags)
        except (OSError, ValueError):
            continue
        real = Path(f"/proc/self/fd/{handle}").resolve()
        if stat.S_ISREG(os.fstat(handle).st_mode) and real.is_relative_to(root.resolve()):
            return os.fdopen(handle, "rb")
        os.close(handle)
    raise gone


def _roots(archive: JobArchive) -> list[tuple[str, Path, bool]]:
    """(prefix of the names, folder, whether the folders below count)."""
    found = [("", archive.root, True)]
    published = archive.records().get("publish")
    if isinstance(published, PublishRecord) and published.bundle:
        bundle = Path(published.bundle)
        if bundle.resolve().is_relative_to(archive.home.resolve()):  # what the record says is data
            found.insert(0, (f"{BUNDLE}/", bundle, False))
    return found
