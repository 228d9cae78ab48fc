"""The only importer of fsspec: a folder elsewhere as a tree of files that are read in parts."""

from __future__ import annotations

import importlib
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from optikit.core.addresses import RemoteFile
from optikit.errors import BadInput, OptikitError, SourceError

__all__ = ["Folder", "opened"]

_MARKS = ("ETag", "etag", "blob_id", "modificationTime", "LastModified", "mtime", "Last-Modified")
_TIMES = ("LastModified", "mtime", "modificationTime", "created")
_YEAR_5138_S = 1e11
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
"""Classes of botocore."""


def opened(protocol: str, extra: str, **options: Any) -> Any:
    """A file system of fsspec.

    Args:
        extra: of OptiKIT, that brings its library.

    Raises:
        OptikitError: the library is missing.
    """
    try:
        return importlib.import_module("fsspec").filesystem(protocol, **options)
    except ImportError as error:
        raise OptikitError(
            f"{protocol}:// needs a library ({error}); pip install 'optikit[{extra}]'"
        ) from error


class Folder:
    """A folder (or one file) of a file system.

    Args:
        root: its path there.
        address: what a person calls it.
        put: brings a local file to a path there, whole or not at all; None: as fsspec does, under
            a temporary name that is then changed.
        known: the SHA-256 of a file, from what the file system says of it.
    """

    digest: str | None = None
    """Not known: see sources/base.py."""

    def __init__(
        self,
        fs: Any,
        root: str,
        address: str,
        *,
        put: Callable[[Path, str], None] | None = None,
        known: Callable[[Mapping[str, Any]], str | None] = lambda info: None,
    ) -> None:
        self._fs, self._root, self.pinned = fs, root.rstrip("/"), address
        self._put, self._known = put, known
        self._paths: dict[str, str] = {}

    def files(self) -> dict[str, RemoteFile]:
        """All files below it by relative name.

        Raises:
            BadInput: nothing is there, or nobody may look.
            SourceError: the place does not answer.
        """
        self._asked(self._fs.invalidate_cache)
        listed = self._asked(lambda: self._fs.find(self._root, detail=True))
        found: dict[str, RemoteFile] = {}
        for path, info in listed.items():
            name = self._name(path)
            if not name or ".." in name.split("/") or info.get("size") is None:
                continue
            mark = next((str(info[key]) for key in _MARKS if info.get(key)), "")
            self._paths[name] = path
            found[name] = RemoteFile(int(info["size"]), mark, self._known(info), _changed_s(info))
        if not found:
            raise BadInput(f"{self.pinned}: nothing is there; look at the address")
        return found

    def _name(self, path: str) -> str:
        stripped = self._fs._strip_protocol(self._root)
        path = self._fs._strip_protocol(path)
        if path == stripped:
            return str(path).rsplit("/", 1)[-1]  # the address is that of one file
        return str(path).removeprefix(stripped).strip("/")

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Bytes of a file that ``files`` listed.

        Raises:
            BadInput: it is gone.
            SourceError: the place does not answer, or gave too little.
        """
        path = self._paths[name]
        data = self._asked(lambda: self._fs.cat_file(path, start=start, end=stop))
        if len(data) != stop - start:
            raise SourceError(
                f"{self.pinned}: {name} gave {len(data)} bytes of {stop - start} from {start} on"
            )
        return bytes(data)

    def write(self, name: str, source: Path) -> None:
        """Bring a file there.

        Raises:
            BadInput: nobody may write there.
            SourceError: the place does not answer.
        """
        target = f"{self._root}/{name}"
        first = f"{target}.{uuid.uuid4().hex[:8]}.part"

        def put() -> None:
            if self._put is not None:
                self._put(source, target)
                return
            self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(source), first)
            if self._fs.exists(target):
                self._fs.rm_file(target)
            self._fs.mv(first, target)

        self._asked(put)

    def remove(self, name: str) -> None:
        """Take a file away.

        Raises:
            BadInput: it is not there, or nobody may remove it.
            SourceError: the place does not answer.
        """
        self._asked(lambda: self._fs.rm_file(f"{self._root}/{name}"))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except FileNotFoundError as error:
            raise BadInput(f"{self.pinned}: nothing is there ({_words(error)})") from error
        except PermissionError as error:
            raise BadInput(
                f"{self.pinned}: the place refuses who asks ({_words(error)}); look at the "
                "credentials of the environment and at what they may do"
            ) from error
        except _raised_by_clients() as error:
            if type(error).__name__ in _NO_CREDENTIALS:
                raise BadInput(
                    f"{self.pinned}: no credentials were found in the environment"
                ) from error
            raise SourceError(f"{self.pinned}: {_words(error)}") from error


def _changed_s(info: Mapping[str, Any]) -> float | None:
    """Each file system has a word and a kind of its own for it."""
    found = next((info[key] for key in _TIMES if info.get(key)), None)
    if isinstance(found, datetime):
        return found.timestamp()
    if isinstance(found, (int, float)):
        return found / 1e3 if found > _YEAR_5138_S else float(found)  # WebHDFS: milliseconds
    return None


def _raised_by_clients() -> tuple[type[Exception], ...]:
    """Bases of errors that the clients below fsspec let through, of those that were imported."""
    found: list[type[Exception]] = [OSError]
    for module, name in (
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("aiohttp", "ClientError"),
        ("httpx", "HTTPError"),
    ):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]
