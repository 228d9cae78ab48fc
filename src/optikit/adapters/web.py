"""Files of a web server, read in parts and known by their SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from optikit.adapters.http_get import NoRedirect
from optikit.core.addresses import RemoteFile
from optikit.core.checksums import LIST, parse_sums
from optikit.errors import BadInput, SourceError

__all__ = ["WebFolder"]

_MOST_LIST_BYTES = 4 << 20
_TIMEOUT_S = 30.0


class WebFolder:
    """One file, or those that a file ``SHA256SUMS`` names.

    Args:
        url: of the file or the list.
        sha256: hex, of the file or the list.
    """

    digest: str | None = None
    """Not known: see sources/base.py."""

    def __init__(self, url: str, sha256: str) -> None:
        self._base, _, self._last = url.rpartition("/")
        self._sha256 = sha256
        self.pinned = f"{url}#sha256={sha256}"
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)

    def files(self) -> dict[str, RemoteFile]:
        """The file, or what the list names.

        Raises:
            BadInput: nothing is there, the list is another one, or a line in it is none.
            SourceError: the server does not answer, or does not say how large a file is.
        """
        digests = {self._last: self._sha256}
        if self._last == LIST:
            digests = self._listed()
        return {name: RemoteFile(self._size(name), sha, sha) for name, sha in digests.items()}

    def _listed(self) -> dict[str, str]:
        with self._answer(LIST) as answer:
            text = answer.read(_MOST_LIST_BYTES + 1)
        found = hashlib.sha256(text).hexdigest()
        if found != self._sha256 or len(text) > _MOST_LIST_BYTES:
            raise BadInput(f"{self.pinned}: the list there has the digest sha256={found}")
        digests = parse_sums(text.decode(errors="replace"), self.pinned)
        if not digests:
            raise BadInput(f"{self.pinned}: the list names no file")
        return digests

    def _size(self, name: str) -> int:
        with self._answer(name, method="HEAD") as answer:
            length = answer.headers.get("Content-Length")
        if length is None:
            raise SourceError(f"{self.pinned}: the server does not say how large {name} is")
        return int(length)

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Bytes of a file.

        Raises:
            BadInput: it is gone, or the server gives no parts.
            SourceError: the server does not answer, or gave too little.
        """
        with self._answer(name, {"Range": f"bytes={start}-{stop - 1}"}) as answer:
            if answer.status != 206 and start:
                raise BadInput(f"{self.pinned}: the server gives no parts of files (Range)")
            try:
                data = bytes(answer.read(stop - start))
            except (OSError, http.client.HTTPException) as error:
                raise SourceError(f"{self.pinned}: {name} broke off ({error})") from error
        if len(data) != stop - start:
            raise SourceError(f"{self.pinned}: {name} gave {len(data)} bytes of {stop - start}")
        return data

    def write(self, name: str, source: Path) -> NoReturn:
        """Nothing can be brought to a web server, or taken away.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"{self.pinned}: a web server takes no files; use s3:// or a folder")

    def remove(self, name: str) -> NoReturn:
        """As ``write``."""
        self.write(name, Path(name))

    def _answer(
        self, name: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> Any:
        url = f"{self._base}/{quote(name)}"
        request = urllib.request.Request(url, headers=dict(headers or {}), method=method)  # noqa: S310
        try:
            return self._direct.open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                said = f"{self.pinned}: the server answered {error.code} for {name}"
                if error.code in (301, 302, 303, 307, 308):
                    raise BadInput(f"{said}: it lies elsewhere; give that address") from error
                if error.code >= 500 or error.code in (408, 429):
                    raise SourceError(said) from error
                raise BadInput(said) from error
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"{self.pinned}: the server does not answer ({error})") from error
