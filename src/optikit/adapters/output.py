"""What a driver or worker prints, without the secrets of its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from optikit.core.redact import Redactor, secrets_in

__all__ = ["RedactedStream", "blot_out", "redact_output"]

_BLOCK = 1 << 20
_LONGEST = 64_000
"""Characters that wait for the end of their line."""


class RedactedStream(TextIOBase):
    """A text stream that takes secrets out, line by line: they may come in several writes."""

    def __init__(self, inner: TextIO, redactor: Redactor) -> None:
        self._inner = inner
        self._redactor = redactor
        self._waiting = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there
        """Of the stream below."""
        return self._inner.encoding

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of the stream below; what is written there directly is not looked at."""
        return self._inner.fileno()

    def isatty(self) -> bool:
        """As the stream below."""
        return self._inner.isatty()

    def write(self, text: str) -> int:
        """Keep until the end of the line, then pass on what may be seen."""
        whole, newline, rest = (self._waiting + text).rpartition("\n")
        if len(rest) > _LONGEST:
            whole, newline, rest = whole + newline + rest, "", ""
        self._waiting = rest
        if whole or newline:
            self._inner.write(self._redactor.text(whole) + newline)
            self._inner.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Each as by ``write``."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on what waits for the end of its line."""
        if self._waiting:
            self._inner.write(self._redactor.text(self._waiting))
            self._waiting = ""
        self._inner.flush()


def blot_out(secret: str, log: Path, start: int = 0) -> int:
    """Write over a secret in a file that another process wrote; how often it stood there.

    The file keeps its length: others may be reading it.

    Args:
        start: byte from which on to look.
    """
    word, found = secret.encode(), 0
    if not word or not log.exists():
        return 0
    with log.open("r+b") as file:
        place = file.seek(start)
        while block := file.read(_BLOCK):
            at = block.find(word)
            if at >= 0:
                file.seek(place + at)
                file.write(b"*" * len(word))
                found, place = found + 1, place + at + len(word)
            elif len(block) < _BLOCK:
                break
            else:  # it may lie across the end
                place += len(block) - len(word) + 1
            file.seek(place)
    return found


def redact_output() -> None:
    """From here on stdout and stderr of this process show no secret of its environment."""
    known = Redactor(secrets_in(os.environ))
    if known.values:
        sys.stdout = RedactedStream(sys.stdout, known)
        sys.stderr = RedactedStream(sys.stderr, known)
