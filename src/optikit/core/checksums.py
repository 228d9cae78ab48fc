"""Lists of digests as ``sha256sum`` writes and checks them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from optikit.errors import UnsafeInput

__all__ = ["LIST", "PARTIAL_LIST", "parse_sums", "sums"]

LIST = "SHA256SUMS"
"""Name of the list in its folder."""
PARTIAL_LIST = f"{LIST}.partial"
"""The list of a folder that is still being filled."""
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


def sums(digests: Mapping[str, str]) -> str:
    """The list of relative names and their SHA-256 (hex), by name.

    >>> parse_sums(sums({"a": "0" * 64}), "SHA256SUMS") == {"a": "0" * 64}
    True
    """
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(digests.items()))
