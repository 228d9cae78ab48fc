"""A team's token: 256 random bits, shown once, kept as their SHA-256.

A slow hash (bcrypt, Argon2) makes guesses at a word that a person chose expensive. Nobody guesses
one of 2^256 tokens, so a fast hash gives nothing away, and costs no request half a second.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["digest_of_token", "new_token", "same_digest"]

PREFIX = "optikit_"
"""So that scanners for secrets know a token where it does not belong."""
_BYTES = 32


def new_token() -> str:
    """A token that nobody had before."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def digest_of_token(token: str) -> str:
    """What is kept of a token, in hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def same_digest(one: str, other: str) -> bool:
    """Compared in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
