"""What is known of uncompressed models: scored once, used by every job that asks the same.

::

    <home>/baselines/<sha256 of the key>/{key.json, and the files that were kept}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileBaselines"]

_KEY = "key.json"


@dataclass(frozen=True)
class FileBaselines:
    """As stores/base.py; pickles as a path."""

    home: Path

    def find(self, key: Mapping[str, str]) -> Path | None:
        """As stores/base.py; an entry that is not as it was kept is none."""
        folder = self._folder(key)
        try:
            kept = json.loads((folder / _KEY).read_text(encoding="utf-8"))
            whole = kept["key"] == dict(key) and kept["files"] == _digests(folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if whole:
            with contextlib.suppress(OSError):  # used now; of somebody else's home that stays open
                os.utime(folder)
        return folder if whole else None

    def keep(self, key: Mapping[str, str], files: Path) -> None:
        """As stores/base.py; of two that keep the same at once, one counts."""
        folder = self._folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for file in sorted(files.iterdir()):
                if file.is_file():
                    shutil.copy2(file, work / file.name)
            entry = {"key": dict(key), "files": _digests(work)}
            (work / _KEY).write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
            for file in work.iterdir():
                with file.open("rb") as kept:
                    os.fsync(kept.fileno())
            if folder.exists() and self.find(key) is None:
                shutil.rmtree(folder)  # damaged
            try:
                work.rename(folder)
            except OSError:
                if self.find(key) is None:
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _folder(self, key: Mapping[str, str]) -> Path:
        text = json.dumps(dict(key), sort_keys=True, separators=(",", ":"))
        return self.home / "baselines" / hashlib.sha256(text.encode()).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file but the entry's own."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.name != _KEY
    }
