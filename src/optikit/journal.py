"""An append-only history of one folder, and the raw files that its figures are made of.

A line ends with a checksum of itself. What a crash tore, and what something altered since, is no
event: it is skipped and counted. A disk that is full or read-only is waited for
(docs/decisions/0019-faults.md).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import logging
import math
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from optikit.adapters.process import boot_id
from optikit.core.logs import summary_of_event
from optikit.core.redact import Redactor, secrets_in
from optikit.errors import ArchiveError, BadInput, DiskFull
from optikit.spec.base import Spec

__all__ = [
    "Journaled",
    "append_line",
    "event_of",
    "has_checksum",
    "now",
    "patiently",
    "raw_digest",
    "sealed",
    "write_bytes",
    "write_json",
    "write_whole",
]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
PATIENCE_S = 120.0
"""How long a write waits for a disk that is full or read-only."""
_PATIENCE_VARIABLE = "OPTIKIT_DISK_PATIENCE_S"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PASSING = (*_FULL, errno.EROFS)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_SEAL = re.compile(rb'(?P<text>.*), "crc": "(?P<crc>[0-9a-f]{8})"\}\s*', re.DOTALL)
_LATEST_T = 1e11
"""Seconds since the epoch that no clock shows."""


class Journaled:
    """A folder with a ``journal.jsonl``: one line an event.

    ``t`` is the wall clock, which somebody may set; ``up`` is the seconds since the machine's boot,
    which nobody can, and ``boot`` says of which boot. Threads and processes may append at once.
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
        patiently(lambda: path.mkdir(parents=True, exist_ok=True), f"make the folder {path}")
        return path

    def event(self, kind: str, **facts: Any) -> None:
        """Append one line, flushed to disk; a disk that is full or read-only is waited for.

        Secrets of the environment are taken out.

        Raises:
            DiskFull: it stayed full.
            ArchiveError: it stayed read-only, or the line cannot be written for another reason.
        """
        append_line(self.journal, self._line(kind, facts))
        self._tell(kind, facts)

    def event_now(self, kind: str, **facts: Any) -> None:
        """As ``event``, and no wait: for what somebody waits for who can mend the disk."""
        append_line(self.journal, self._line(kind, facts), patience_s=0.0)
        self._tell(kind, facts)

    def _tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """In the log of this process, where somebody listens to that much (logs as JSON)."""
        if _LOG.isEnabledFor(logging.INFO):
            text, of = summary_of_event(kind, facts)
            _LOG.info("%s", text, extra={"job": self.root.name, **of})

    def _line(self, kind: str, facts: Mapping[str, Any]) -> bytes:
        text = json.dumps({**now(), "kind": kind, **facts}, default=_plain)
        return _seal(_without_secrets(text, self.root))

    def events(self, offset: int = 0) -> Iterator[dict[str, Any]]:
        """Whole events from byte ``offset`` on; torn and altered lines are skipped."""
        for event, _ in self.events_and_ends(offset):
            yield event

    def events_and_ends(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Whole events, each with the offset behind it, for those who follow a live job."""
        try:
            file = self.journal.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(offset)
            for raw in file:
                offset += len(raw)
                if not raw.endswith(b"\n"):
                    return
                event = event_of(raw)
                if event is not None:
                    yield event, offset

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        """Events of these kinds, oldest first."""
        return [event for event in self.events() if event["kind"] in kinds]

    def damaged_lines(self) -> int:
        """Lines that are no events: torn by a crash or altered."""
        lines = self.journal.read_bytes().splitlines() if self.journal.exists() else []
        return sum(1 for line in lines if line.strip() and event_of(line) is None)

    def created(self) -> float:
        """Seconds since the epoch; 0 where the folder was removed meanwhile."""
        first = next(self.events(), None)
        if first is not None:
            return float(first["t"])
        return self.root.stat().st_mtime if self.root.exists() else 0.0


def now() -> dict[str, Any]:
    """When an event happens, on both clocks."""
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    return {"t": round(time.time(), 3), "up": round(up, 3), "boot": _boot()}


@functools.cache
def _boot() -> str:
    try:
        return boot_id()[:8]
    except OSError:  # no Linux: the wall clock has to do
        return ""


def patiently(work: Callable[[], T], what: str, patience_s: float | None = None) -> T:
    """Do what writes to a disk; again, for a while, where that is full or read-only.

    Args:
        what: for the message, such as ``append to FILE``.
        patience_s: None: two minutes, or $OPTIKIT_DISK_PATIENCE_S.

    Raises:
        DiskFull: it stayed full.
        ArchiveError: it stayed read-only.
        OSError: anything else that goes wrong, at once.
    """
    patience_s = _patience_s() if patience_s is None else patience_s
    began, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while True:
        try:
            return work()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            if time.monotonic() - began >= patience_s:
                kind = DiskFull if error.errno in _FULL else ArchiveError
                waited = f", for {patience_s:g} s" if patience_s else ""
                raise kind(
                    f"cannot {what}: {error.strerror}{waited}. Make room or make it writable "
                    "again, then go on with `optikit resume`; what was finished is kept"
                ) from error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _patience_s() -> float:
    told = os.environ.get(_PATIENCE_VARIABLE)
    if not told:
        return PATIENCE_S
    try:
        found = float(told)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise BadInput(f"{_PATIENCE_VARIABLE} is {told!r}; give a number of seconds from 0")
    return found


def append_line(path: Path, line: bytes, patience_s: float | None = None) -> None:
    """Append a line to a file that several processes append to: whole, on the disk, or not at all.

    Raises:
        DiskFull, ArchiveError: as :func:`patiently`; any other fault of the disk is an
            ArchiveError too.
    """
    try:
        patiently(lambda: _append(path, line), f"append to {path}", patience_s)
    except OSError as error:
        raise ArchiveError(f"cannot append to {path}: {error.strerror}") from error


def _append(path: Path, line: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + line
        try:
            while data:  # a disk that fills up takes a part and says nothing
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)  # half a line is none, and nobody has read past it
            raise
    finally:
        os.close(fd)


def sealed(event: Mapping[str, Any]) -> bytes:
    """An event's line, with the checksum of what stands before it."""
    return _seal(json.dumps(event, default=_plain))


def _seal(text: str) -> bytes:
    return f'{text[:-1]}, "crc": "{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def event_of(raw: bytes) -> dict[str, Any] | None:
    """The event in a line; None: torn or altered. Lines of older archives have no checksum."""
    seal = _SEAL.fullmatch(raw)
    if seal is not None:
        raw = seal["text"] + b"}"
        if zlib.crc32(raw) != int(seal["crc"], 16):
            return None
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or "crc" in event or not isinstance(event.get("kind"), str):
        return None
    at = event.get("t")
    timed = isinstance(at, float | int) and not isinstance(at, bool) and 0 <= at < _LATEST_T
    return event if timed else None


def has_checksum(raw: bytes) -> bool:
    """Whether a line says what it should be."""
    return _SEAL.fullmatch(raw) is not None


def write_json(path: Path, data: object) -> None:
    """Write JSON with sorted keys, whole or not at all, without secrets of the environment."""
    write_whole(path, _without_secrets(json.dumps(data, indent=2, sort_keys=True), path) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write whole or not at all: under a temporary name, flushed, then renamed."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As ``write_whole``, bytes."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


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
