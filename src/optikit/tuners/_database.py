"""URLs of the databases that hold studies: how they are made, and shown without their secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

__all__ = ["masked", "scrubbed", "sqlite_url", "study_name"]

_PLAIN = re.compile(
    r"(?P<scheme>[\w+]+)://(?:(?P<user>[^:@/?]*)(?::[^@?]*)?@)?"
    r"(?P<place>[^@?:]*(?::\d+)?(?:/[^@?:]*)?)(?:\?.*)?",
    re.DOTALL,
)


def masked(url: str) -> str:
    """The URL without password and query; of one that cannot be read, the scheme alone.

    >>> masked("postgresql://me:secret@db:5432/optuna?sslpassword=other")
    'postgresql://me@db:5432/optuna'
    >>> masked("postgresql://me:s@cret@db/optuna")
    'postgresql://...'
    """
    match = _PLAIN.fullmatch(url)
    if match is None:
        scheme = re.match(r"[\w+]+(?=://)", url)
        return f"{scheme[0] if scheme else ''}://..."
    user = f"{match['user']}@" if match["user"] else ""
    return f"{match['scheme']}://{user}{match['place']}"


def scrubbed(text: str, url: str | None) -> str:
    """The first line of a driver's message, less every secret that the URL may hold.

    >>> scrubbed("no user me with secret here\\nmore", "postgresql://me:secret@db/optuna")
    'no user me with *** here'
    """
    line = text.strip().partition("\n")[0]
    rest = (url or "").partition("://")[2]
    before = rest.rpartition("@")[0]
    secrets = {before.partition(":")[2], rest.partition("@")[0].partition(":")[2]}
    query = rest.partition("?")[2]
    secrets |= {value for _, value in parse_qsl(query)}
    secrets |= {part.partition("=")[2] for part in query.split("&")}
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        if secret:
            line = line.replace(secret, "***")
    return line


def sqlite_url(path: Path) -> str:
    """URL of a database file, whatever signs its path has."""
    text = str(path.absolute())
    for sign in "%?#":  # they have a meaning in a URL; % first
        text = text.replace(sign, f"%{ord(sign):02X}")
    return f"sqlite:///{text}"


def study_name(storage: Path) -> str:
    """Name of a study among those of other jobs: job and variant, from ``.../JOB/study/VARIANT``.

    >>> study_name(Path("/home/jobs/j20261124-101500-a1b2c3/study/baseline"))
    'j20261124-101500-a1b2c3/baseline'
    """
    job, _, variant = storage.absolute().parts[-3:]
    return f"{job}/{variant}"
