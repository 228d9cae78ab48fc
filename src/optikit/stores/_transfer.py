"""Files to and from elsewhere, in parts that several threads move, resumed where they stopped."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from optikit.core.addresses import RemoteFile
from optikit.core.checksums import LIST, PARTIAL_LIST, parse_sums, sums
from optikit.errors import BadInput, DiskFull, SourceError
from optikit.sources.base import Tree

__all__ = ["MAX_LIST", "PART", "Progress", "download", "persist", "sha256_of", "upload"]

PART = 16 << 20
"""Bytes of a part: what one thread holds in memory."""
THREADS = 8
_BLOCK = 1 << 20
_DONE = ".parts"
MAX_LIST = 4 << 20
"""Bytes of a list of digests that is still read."""
_LISTED_EVERY = 64 << 20
"""Bytes after which the list of what has been sent is worth a request."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Bytes that are there, of how many."""


@dataclass(frozen=True)
class _Part:
    number: int
    name: str
    start: int
    stop: int


def download(
    tree: Tree,
    files: Mapping[str, RemoteFile],
    folder: Path,
    patience_s: float,
    progress: Progress = lambda done, total: None,
) -> dict[str, str]:
    """Bring files into a folder, which is the caller's alone; call it again to go on.

    Which parts are there stands in ``<folder>/.parts``, which is gone in the end. At most
    ``THREADS * PART`` bytes are in memory. Files are hashed as their parts arrive.

    Args:
        files: by relative name; the same at every call for this folder.
        patience_s: how long in all nothing may arrive before it is given up.
        progress: called by one thread at a time.

    Returns:
        The SHA-256 (hex) of each file, as it lies here.

    Raises:
        BadInput: a file is gone, or has another digest than its place said.
        SourceError: nothing arrived for that long.
        DiskFull: the files do not fit.
    """
    parts = list(_parts(files))
    folder.mkdir(parents=True, exist_ok=True)
    _room(files, folder)
    done = _Done(folder / _DONE, len(parts))
    total = sum(file.size for file in files.values())
    left = [part for part in parts if part.number not in done]
    there = total - sum(part.stop - part.start for part in left)
    hasher = _Hasher(folder, files, parts, {part.number for part in parts if part.number in done})
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as hashing:
        hashed = hashing.submit(hasher.run)
        try:
            _Crew(tree, folder, done, hasher, patience_s, progress, there, total).run(left)
        finally:
            hasher.end()
            done.close()
        digests = hashed.result()
    for name, file in files.items():
        if file.sha256 is not None and digests[name] != file.sha256:
            (folder / _DONE).unlink()  # nothing of it is taken for whole
            raise BadInput(
                f"{tree.pinned}: {name} is not what its place says it is (sha256); it was damaged "
                "on the way, or there"
            )
    (folder / _DONE).unlink()
    return digests


def _parts(files: Mapping[str, RemoteFile]) -> Iterator[_Part]:
    number = 0
    for name in sorted(files):
        for start in range(0, files[name].size, PART):
            yield _Part(number, name, start, min(start + PART, files[name].size))
            number += 1


def _room(files: Mapping[str, RemoteFile], folder: Path) -> None:
    """Make the files at their full size, so that a disk that is too small shows now."""
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(handle).st_size != file.size:
                os.ftruncate(handle, file.size)
            if file.size:
                os.posix_fallocate(handle, 0, file.size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                f"{path} needs {file.size / 1e9:.2f} GB and does not fit the disk of {folder}; "
                "free some, or set OPTIKIT_HOME to a larger one"
            ) from error
        finally:
            os.close(handle)


class _Done:
    """One byte a part, written after the part was; of a torn file nothing is believed."""

    def __init__(self, path: Path, parts: int) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if os.fstat(self._handle).st_size not in (0, parts):
            os.ftruncate(self._handle, 0)
        os.ftruncate(self._handle, parts)
        self._marks = os.pread(self._handle, parts, 0)

    def __contains__(self, number: int) -> bool:
        return self._marks[number] == 1

    def add(self, number: int) -> None:
        os.pwrite(self._handle, b"\1", number)

    def close(self) -> None:
        os.close(self._handle)


class _Hasher:
    """Reads what has arrived from each file's begin on, so that at the end little is left to read.

    Args:
        here: numbers of the parts that were there before.
    """

    def __init__(
        self, folder: Path, files: Iterable[str], parts: Iterable[_Part], here: set[int]
    ) -> None:
        self._folder, self._here = folder, here
        self._parts: dict[str, list[_Part]] = {name: [] for name in files}
        for part in parts:
            self._parts[part.name].append(part)
        self._changed, self._ended = threading.Condition(), False

    def arrived(self, part: _Part) -> None:
        with self._changed:
            self._here.add(part.number)
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing arrives any more: what is not there is not waited for."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def run(self) -> dict[str, str]:
        """SHA-256 (hex) of each file that came whole."""
        digests = {}
        for name, parts in self._parts.items():
            digest = hashlib.sha256()
            with (self._folder / name).open("rb") as file:
                whole = all(self._hashed(file, part, digest) for part in parts)
            if whole:
                digests[name] = digest.hexdigest()
        return digests

    def _hashed(self, file: BinaryIO, part: _Part, digest: Any) -> bool:
        """Whether the part came; waits until it has, or nothing comes any more."""
        with self._changed:
            self._changed.wait_for(lambda: part.number in self._here or self._ended)
            if part.number not in self._here:
                return False
        left = part.stop - part.start
        while left:
            block = file.read(min(_BLOCK, left))
            if not block:
                raise OSError(errno.EIO, f"{file.name} became shorter while it was read")
            digest.update(block)
            left -= len(block)
        return True


class _Crew:
    """The threads of one download."""

    def __init__(
        self,
        tree: Tree,
        folder: Path,
        done: _Done,
        hasher: _Hasher,
        patience_s: float,
        progress: Progress,
        there: int,
        total: int,
    ) -> None:
        self._tree, self._folder, self._done, self._hasher = tree, folder, done, hasher
        self._patience_s, self._progress = patience_s, progress
        self._there, self._total = there, total
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._arrived_s = time.monotonic()

    def run(self, parts: list[_Part]) -> None:
        self._progress(self._there, self._total)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="download") as pool:
            try:
                running = [pool.submit(self._bring, part) for part in parts]
                ended, _ = wait(running, return_when=FIRST_EXCEPTION)
                for one in ended:
                    one.result()
            finally:  # a signal too: what waits is not begun, who pauses wakes
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _bring(self, part: _Part) -> None:
        data = self._patiently(part)
        if data is None:
            return
        handle = os.open(self._folder / part.name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(handle, data, part.start)
        finally:
            os.close(handle)
        with self._lock:
            self._done.add(part.number)
            self._there += len(data)
            self._progress(self._there, self._total)
        self._hasher.arrived(part)

    def _patiently(self, part: _Part) -> bytes | None:
        """The part; None: the others have stopped."""
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                data = self._tree.read(part.name, part.start, part.stop)
            except SourceError:
                if time.monotonic() - self._arrived_s > self._patience_s:
                    raise
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._arrived_s = time.monotonic()
                return data
        return None


def upload(folder: Path, names: Sequence[str], tree: Tree, patience_s: float) -> str:
    """Bring files of a folder elsewhere; what is there with the same content is not sent again.

    Last comes ``SHA256SUMS`` with a line a file, as ``sha256sum -c`` reads it: a folder elsewhere
    that has it is whole. Until then ``SHA256SUMS.partial`` lists what has been sent. A file is
    hashed while it is sent.

    Returns:
        The SHA-256 of that list, hex.

    Raises:
        BadInput: nobody may write there.
        SourceError: it did not answer for that long.
    """
    there, listed = persist(lambda: _told(tree), patience_s)
    digests: dict[str, str] = {}
    sent, unlisted, partly = False, 0, PARTIAL_LIST in there
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as hashing:
        for name in sorted(names):
            path = folder / name
            size = path.stat().st_size
            if name in listed and there[name].size == size:
                digests[name] = sha256_of(path)
                if digests[name] == listed[name]:
                    continue
            if not sent and LIST in there:  # it would call whole what is now being replaced
                persist(partial(tree.remove, LIST), patience_s)
            sent = True
            digest = hashing.submit(sha256_of, path)
            persist(partial(tree.write, name, path), patience_s)
            digests[name] = digest.result()
            unlisted += size
            if unlisted > _LISTED_EVERY and name != max(names):
                _written(tree, PARTIAL_LIST, sums(digests), patience_s)
                unlisted, partly = 0, True
    text = sums(digests)
    if sent or listed != digests or LIST not in there:
        _written(tree, LIST, text, patience_s)
    if partly:
        with contextlib.suppress(BadInput):  # gone, or nobody may remove it: the list counts
            persist(partial(tree.remove, PARTIAL_LIST), patience_s)
    return hashlib.sha256(text.encode()).hexdigest()


def _told(tree: Tree) -> tuple[Mapping[str, RemoteFile], dict[str, str]]:
    """The files that are there, and the digests that the list among them says.

    Of a file that was written after the list nothing is known.
    """
    try:
        there = tree.files()
        name = LIST if LIST in there else PARTIAL_LIST
        if name not in there or there[name].size > MAX_LIST:
            return there, {}
        text = tree.read(name, 0, there[name].size).decode(errors="replace")
        listed = parse_sums(text, f"{tree.pinned}/{name}")
    except BadInput:  # nothing there, nobody may look, or no list that can be read
        return {}, {}
    until = there[name].changed_s or math.inf
    return there, {
        name: sha256
        for name, sha256 in listed.items()
        if name in there and (there[name].changed_s or 0.0) <= until
    }


def _written(tree: Tree, name: str, text: str, patience_s: float) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as listed:
        listed.write(text)
        listed.flush()
        persist(partial(tree.write, name, Path(listed.name)), patience_s)


def persist(ask: Callable[[], T], patience_s: float) -> T:
    """Ask a place that may be away for a while.

    Raises:
        SourceError: it did not answer for that long.
    """
    until, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
    while True:
        try:
            return ask()
        except SourceError:
            if time.monotonic() > until:
                raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
