"""Lists of digests as ``sha256sum`` writes and checks them."""

from __future__ import annotations

import re

from optikit.errors import UnsafeInput

__all__ = ["LIST", "parse_sums"]

LIST = "SHA256SUMS"
"""Name of the list in its folder."""
_LINE = re.compile(r"(?P<hex>[0-9a-f]{64}) [ *](?P<name>\S.*)", re.ASCII)


def parse_sums(text: str, where: str) -> dict[str, str]:
    """Relative name to SHA-256 (hex).

    Args:
        where: the list, for the message.

    Raises:
        UnsafeInput: a line that is none, or a name that leaves the folder.

    >>> parse_sums("0" * 64 + "  ./a/b.txt", "SHA256SUMS")["a/b.txt"][:4]
    '0000'
    """
    digests = {}
    for line in text.splitlines():
        entry = _LINE.fullmatch(line)
        name = entry["name"].removeprefix("./") if entry else ""
        parts = name.split("/")
        if entry is None or not name.isprintable() or any(p in ("", ".", "..") for p in parts):
            raise UnsafeInput(f"{where}: the list has the line {line!r:.120}")
        digests[name] = entry["hex"]
    return digests
