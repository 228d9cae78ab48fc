"""Addresses of what lies elsewhere: ``s3://BUCKET/FOLDER``, ``hf://ORG/NAME@REVISION``, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from optikit.errors import SpecError, UnsafeInput

__all__ = ["Address", "RemoteFile", "allowed", "is_address"]

_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://", re.ASCII)
_DIGEST = re.compile(r"sha256=(?P<hex>[0-9a-f]{64})", re.ASCII)
_LONGEST = 1024
_OF_A_REVISION = ("hf", "mlflow")
"""Schemes in which ``@`` names a revision or an alias, not somebody who logs in."""


@dataclass(frozen=True)
class Address:
    """Where something lies; it holds no secret, and is shown as it is."""

    scheme: str
    place: str
    """What comes behind ``://``, without a slash at its end."""
    sha256: str | None = None
    """What the content must have, given as ``#sha256=HEX``."""

    def __str__(self) -> str:
        pinned = f"#sha256={self.sha256}" if self.sha256 else ""
        return f"{self.scheme}://{self.place}{pinned}"

    @classmethod
    def parse(cls, text: str, key: str) -> Address:
        """Read an address.

        Args:
            key: what named it, for the message.

        Raises:
            SpecError: it is none, or it carries something that may be a secret.

        >>> Address.parse("s3://models/llama/", "model.uri").place
        'models/llama'
        """
        found = _SCHEME.match(text)
        if found is None or len(text) > _LONGEST or not text.isprintable() or " " in text:
            raise SpecError(
                f"{key}: asked {text!r:.120}, which is no address; write SCHEME://PLACE, such as "
                "s3://BUCKET/FOLDER"
            )
        place, _, fragment = text[found.end() :].partition("#")
        shown = f"{found['scheme']}://..."
        if found["scheme"] not in _OF_A_REVISION and "@" in place.partition("/")[0]:
            raise SpecError(
                f"{key}: {shown} names somebody who logs in, and a spec is kept for all to read; "
                "credentials are given by environment variables or files"
            )
        if "?" in place:
            raise SpecError(
                f"{key}: {shown} has a query (?...), which may carry a signature, and a spec is "
                "kept for all to read; give the address without it"
            )
        place = place.rstrip("/")
        if not place or any(part in (".", "..", "") for part in place.split("/")):
            raise SpecError(f"{key}: asked {text!r:.120}, which names no place ({shown})")
        pinned = _DIGEST.fullmatch(fragment)
        if fragment and pinned is None:
            raise SpecError(
                f"{key}: asked {text!r:.120}; behind # stands sha256= and 64 digits of 0-9a-f"
            )
        return cls(found["scheme"], place, pinned["hex"] if pinned else None)


@dataclass(frozen=True)
class RemoteFile:
    """One file, as its place describes it."""

    size: int
    """Bytes."""
    mark: str
    """Changes with the content: an entity tag, a commit's blob, a time of change."""
    sha256: str | None = None
    """Hex, where the place knows it."""
    changed_s: float | None = None
    """When it was written there, in seconds since 1970 by that place's clock, where it says so."""


def is_address(text: str) -> bool:
    """Whether something is an address of elsewhere, not a path or ``file://``.

    >>> is_address("s3://a/b"), is_address("file:///a"), is_address("data/rows.jsonl")
    (True, False, False)
    """
    found = _SCHEME.match(text)
    return found is not None and found["scheme"] != "file"


def allowed(address: Address, prefixes: Sequence[str] | None, key: str) -> None:
    """Raise unless a site lets its jobs read there.

    Args:
        prefixes: addresses below which it must lie; None: anywhere.

    Raises:
        UnsafeInput: it lies elsewhere; whether anything is there is not said.
    """
    if prefixes is None:
        return
    place = address.place
    if address.scheme in _OF_A_REVISION:  # a revision is not another place
        place = place.partition("@")[0]
    text = f"{address.scheme}://{place}"
    for prefix in prefixes:
        # one that ends with :// is every place of its scheme; bucket-2 is not below bucket
        below = prefix if prefix.endswith("://") else prefix.rstrip("/") + "/"
        if f"{text}/".startswith(below):
            return
    raise UnsafeInput(
        f"{key}: {address} lies outside the addresses that this site allows "
        f"({', '.join(prefixes) or 'none'}); use one of them, or have it added to `addresses` of "
        "the service's settings"
    )
