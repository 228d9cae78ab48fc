"""A folder of this machine, read and written as one elsewhere is."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from optikit.adapters.files import inside, open_inside
from optikit.core.addresses import RemoteFile
from optikit.errors import BadInput, SourceError

__all__ = ["LocalFolder"]


class LocalFolder:
    """Links are not followed out of ``roots``, and none below the folder is taken for a file.

    Args:
        roots: folders below which it must lie; None: anywhere.
        pinned: what a person calls it; None: its path.
        digest: as in base.Tree.
    """

    def __init__(
        self,
        folder: Path,
        roots: Sequence[str] | None = None,
        pinned: str | None = None,
        digest: str | None = None,
    ) -> None:
        self._folder, self._roots = folder, roots
        self.pinned = pinned or str(folder)
        self.digest = digest

    def files(self) -> dict[str, RemoteFile]:
        """See base.Tree."""
        inside(self._folder, self._roots, self.pinned)
        found = {}
        for base, folders, names in os.walk(self._folder):
            folders[:] = [name for name in folders if not (Path(base) / name).is_symlink()]
            for name in names:
                path = Path(base) / name
                if path.is_symlink() or not path.is_file():
                    continue
                seen = path.stat()
                relative = path.relative_to(self._folder).as_posix()
                found[relative] = RemoteFile(
                    seen.st_size, f"{seen.st_mtime_ns}-{seen.st_ino}", changed_s=seen.st_mtime
                )
        if not found:
            raise BadInput(f"{self.pinned}: nothing is there; look at the path")
        return found

    def read(self, name: str, start: int, stop: int) -> bytes:
        """See base.Tree."""
        try:
            with open_inside(self._folder / name, self._roots, self.pinned) as file:
                file.seek(start)
                data = file.read(stop - start)
        except FileNotFoundError:
            raise BadInput(f"{self.pinned}: {name} is gone") from None
        except OSError as error:
            raise SourceError(f"{self.pinned}: {name}: {error.strerror}") from error
        if len(data) != stop - start:
            raise SourceError(f"{self.pinned}: {name} gave {len(data)} bytes of {stop - start}")
        return data

    def write(self, name: str, source: Path) -> None:
        """See base.Tree."""
        target = self._folder / name
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as read, part.open("xb") as written:
                shutil.copyfileobj(read, written)
                written.flush()
                os.fsync(written.fileno())
            part.rename(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise BadInput(f"{self.pinned}: {name} cannot be written: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """See base.Tree."""
        try:
            (self._folder / name).unlink()
        except OSError as error:
            raise BadInput(f"{self.pinned}: {name} cannot be removed: {error.strerror}") from error
