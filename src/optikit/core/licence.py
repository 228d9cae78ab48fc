"""Licences of models: which files hold one, and what a model card calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["NOT_STATED", "is_licence_file", "licence_named"]

NOT_STATED = "not stated"
_STEMS = ("license", "licence", "notice", "copying")
_LONGEST = 200
_OTHER = "other"
"""What a card says where the licence is none of the hub's list; its name stands beside it."""


def is_licence_file(name: str) -> bool:
    """Whether a file of that name holds a licence or a notice.

    >>> is_licence_file("LICENSE.txt"), is_licence_file("config.json")
    (True, False)
    """
    return name.lower().startswith(_STEMS)


def licence_named(card: Mapping[str, Any]) -> str | None:
    """What the facts of a model card (or a config) call the licence; None where they do not.

    Several are joined by commas. Line ends and what else a terminal would act on is left out.

    >>> licence_named({"license": "other", "license_name": "llama3.1"})
    'llama3.1'
    """
    named = list(_words(card.get("license")))
    if named in ([], [_OTHER]):
        named = list(_words(card.get("license_name"))) or named
    return ", ".join(named)[:_LONGEST] or None


def _words(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        text = " ".join(one.split()) if isinstance(one, str) else ""
        if text and text.isprintable():
            yield text
