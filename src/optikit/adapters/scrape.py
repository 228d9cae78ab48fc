"""Reads a server's metrics as they are, while it is measured: as little of this process as can be.

Only bytes are moved: the load generator's loop shares the interpreter with the thread that reads,
and whatever Python does here is lag there. What was read is understood later.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["EVERY_S", "MOST_DURING", "Raw", "Scraper"]

EVERY_S = 5.0
MOST_DURING = 60
"""Reads within one run that are kept; a longer run is read half as often, again and again."""
_PATIENCE_S = 2.0
_MOST_BYTES = 2 << 20
_GIVES_UP = 3
"""Failures in a row."""


@dataclass(frozen=True)
class Raw:
    """One read."""

    at_s: float
    """Since the epoch, when it was asked."""
    took_s: float
    when: str
    """before, during, after."""
    text: bytes = b""
    error: str | None = None


class Scraper:
    """Reads one address. It gives up for good after three failures in a row.

    Args:
        url: of the metrics.
        api_key: sent along as a bearer token.
    """

    def __init__(self, url: str, api_key: str | None, every_s: float = EVERY_S) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        host, port = parts.hostname or "", parts.port
        self._connect: Callable[[], http.client.HTTPConnection] = lambda: kind(
            host, port, timeout=_PATIENCE_S
        )
        self._path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        self._headers = {"Accept": "text/plain;version=0.0.4", "Connection": "close"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._every_s = every_s
        self._failures = 0
        self._epoch_s = time.time() - time.monotonic()  # somebody may set the clock meanwhile

    @property
    def over(self) -> bool:
        """It was given up."""
        return self._failures >= _GIVES_UP

    def read(self, when: str) -> Raw | None:
        """Read once; None: it was given up before."""
        if self.over:
            return None
        began, text, error = time.monotonic(), b"", None
        connection = self._connect()
        try:
            connection.request("GET", self._path, headers=self._headers)
            answer = connection.getresponse()
            text = answer.read(_MOST_BYTES + 1)
            if answer.status != 200:
                error = f"HTTP {answer.status}"
            elif len(text) > _MOST_BYTES:
                error = f"more than {_MOST_BYTES >> 20} MB"
        except (OSError, http.client.HTTPException) as fault:
            error = f"{type(fault).__name__}: {fault}"[:120]
        finally:
            connection.close()
        self._failures = 0 if error is None else self._failures + 1
        took_s = time.monotonic() - began
        return Raw(self._epoch_s + began, took_s, when, b"" if error else text, error)

    @contextmanager
    def watching(self, found: list[Raw]) -> Iterator[None]:
        """Read every few seconds into ``found`` until the block ends; whole when it has."""
        stop = threading.Event()

        def look() -> None:
            every_s = self._every_s
            wait_s = every_s / 5  # a short probe is to be seen at least once
            while not stop.wait(wait_s) and not self.over:
                wait_s = every_s
                raw = self.read("during")
                if raw is not None:
                    found.append(raw)
                if len(found) >= MOST_DURING:
                    del found[::2]
                    every_s *= 2

        thread = threading.Thread(target=look, name="scrape", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
