"""Addresses of databases, as they may stand in a spec, a record or a log: without a password."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["without_password"]


def without_password(
    url: str, schemes: Sequence[str] = ("sqlite", "postgresql", "mysql"), kept: str = "the archive"
) -> str:
    """The URL, which holds no password.

    Args:
        kept: where a password in it would be kept, for the message.

    Raises:
        ValueError: no URL of one of these kinds of database, or one with a password.
    """
    scheme, _, rest = url.partition("://")
    if not rest or not scheme.startswith(tuple(schemes)):
        raise ValueError("no database URL; write it as postgresql://USER@HOST/NAME")
    user, at, _ = rest.rpartition("@")
    if (at and ":" in user) or re.search(r"[?&;]pass(word|wd)?=", rest, re.IGNORECASE):
        raise ValueError(
            f"the URL holds a password, which would be kept in {kept}; leave it out, and "
            "give it in PGPASSWORD or in ~/.pgpass"
        )
    return url
