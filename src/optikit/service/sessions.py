"""Who is signed in by a browser: random ids, kept as their SHA-256, in memory alone.

A session stands for the token it was begun with: what a team's new token ends, and the end of the
service does, too. Nothing of it is on a disk that somebody could copy.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from optikit.service.tokens import digest_of_token

__all__ = ["Sessions"]

_BYTES = 32
_LASTS_S = 12 * 3600.0
_MOST = 64
"""Of one token at a time; the oldest ends first."""


@dataclass(frozen=True)
class _Session:
    token_sha256: str
    until_s: float


class Sessions:
    """May be asked from any thread.

    Args:
        clock: seconds of any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, token_sha256: str) -> str:
        """A new session; its id, which only the browser keeps."""
        made = secrets.token_urlsafe(_BYTES)
        with self._lock:
            self._forget_old()
            mine = [key for key, one in self._known.items() if one.token_sha256 == token_sha256]
            for key in mine[: max(0, len(mine) - _MOST + 1)]:
                del self._known[key]
            until_s = self._clock() + _LASTS_S
            self._known[digest_of_token(made)] = _Session(token_sha256, until_s)
        return made

    def token_sha256(self, session: str) -> str | None:
        """Of the token that the session was begun with; None: there is no such session, or no
        more."""
        with self._lock:
            self._forget_old()
            found = self._known.get(digest_of_token(session))
        return found.token_sha256 if found else None

    def end(self, session: str) -> None:
        """Forget it, if there is one."""
        with self._lock:
            self._known.pop(digest_of_token(session), None)

    def _forget_old(self) -> None:
        """They end in the order in which they began."""
        now = self._clock()
        while self._known:
            key, oldest = next(iter(self._known.items()))
            if oldest.until_s > now:
                return
            del self._known[key]
