"""An append-only history of one folder, and the raw files that its figures are made of."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optikit.core.redact import Redactor, secrets_in
from optikit.errors import ArchiveError
from optikit.spec.base import Spec

__all__ = ["Journaled", "raw_digest", "write_json", "write_whole"]


class Journaled:
    """A folder with a ``journal.jsonl``: one line an event.

    A line that was torn by a crash is skipped and counted, never taken for an event. Threads and
    processes may append at the same time.
    """

    @property
    def root(self) -> Path:
        """The folder."""
        raise NotImplementedError

    @property
    def journal(self) -> Path:
        """The history."""
        return self.root / "journal.jsonl"

    def folder(self, *parts: str) -> Path:
        """A folder below, made if it is missing; never outside."""
        path = self.root.joinpath(*parts)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ArchiveError(f"the path {'/'.join(parts)} leaves the archive of {self.root.name}")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def event(self, kind: str, **facts: Any) -> None:
        """Append one line, flushed to disk; secrets of the environment are taken out."""
        event = {"t": round(time.time(), 3), "kind": kind, **facts}
        line = _without_secrets(json.dumps(event, default=_plain), self.root)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            fd = os.open(self.journal, flags, 0o644)
        except OSError as error:
            raise ArchiveError(f"cannot append to {self.journal}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, (("\n" if torn else "") + line + "\n").encode())
            os.fsync(fd)
        except OSError as error:
            raise ArchiveError(f"cannot append to {self.journal}: {error.strerror}") from error
        finally:
            os.close(fd)

    def events(self, offset: int = 0) -> Iterator[dict[str, Any]]:
        """Whole events from byte ``offset`` on; torn lines are skipped."""
        for event, _ in self.events_and_ends(offset):
            yield event

    def events_and_ends(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Whole events, each with the offset behind it, for those who follow a live job."""
        if not self.journal.exists():
            return
        with self.journal.open("rb") as file:
            file.seek(offset)
            for raw in file:
                offset += len(raw)
                if not raw.endswith(b"\n"):
                    return
                event = _event_of(raw)
                if event is not None:
                    yield event, offset

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        """Events of these kinds, oldest first."""
        return [event for event in self.events() if event["kind"] in kinds]

    def damaged_lines(self) -> int:
        """Lines that are no events: torn by a crash or altered."""
        lines = self.journal.read_bytes().splitlines() if self.journal.exists() else []
        return sum(1 for line in lines if line.strip() and _event_of(line) is None)

    def created(self) -> float:
        """Seconds since the epoch."""
        first = next(self.events(), None)
        return float(first["t"]) if first else self.root.stat().st_mtime


def write_json(path: Path, data: object) -> None:
    """Write JSON with sorted keys, whole or not at all, without secrets of the environment."""
    write_whole(path, _without_secrets(json.dumps(data, indent=2, sort_keys=True), path) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write whole or not at all: under a temporary name, flushed, then renamed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def raw_digest(folder: Path, names: Iterable[str | None]) -> str | None:
    """SHA-256 over files of a folder one after the other; None where one is missing.

    For ``probe-*.jsonl`` it is what ``cat probe-*.jsonl | sha256sum`` prints.
    """
    whole = hashlib.sha256()
    found = False
    for name in names:
        if name is None or not (folder / name).is_file():
            return None
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                whole.update(block)
        found = True
    return f"sha256:{whole.hexdigest()}" if found else None


def _without_secrets(text: str, place: Path) -> str:
    """The text without the values of the environment's secrets.

    One that is part of the archive's own path stays: paths must lead somewhere, and a password that
    is a folder's name is known to all who can look.
    """
    return Redactor(secrets_in(os.environ)).but(str(place)).text(text)


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, Spec) else str(value)


def _event_of(raw: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(raw)
    except ValueError:
        return None
    whole = isinstance(event, dict) and "kind" in event and isinstance(event.get("t"), float | int)
    return event if whole else None
