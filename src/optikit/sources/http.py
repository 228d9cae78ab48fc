"""``http://HOST/FILE#sha256=HEX``: as https.py; the digest is what makes it safe to use."""

from __future__ import annotations

from optikit.sources.https import Web

__all__ = ["SOURCE"]

SOURCE = Web("http")
