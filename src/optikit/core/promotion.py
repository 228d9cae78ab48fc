"""Which version an alias may name, and which one it named before."""

from __future__ import annotations

import re
from typing import Any

from optikit.errors import BadInput
from optikit.spec.published import PublishedModel, PublishedVersion

__all__ = [
    "CERTIFIED",
    "checked_alias",
    "earlier",
    "headline",
    "names_by_itself",
    "parse_reference",
    "why_not_certified",
]

CERTIFIED = "certified"
_NAME = r"[A-Za-z0-9][\w.+-]{0,250}"
_REFERENCE = re.compile(rf"(?P<name>{_NAME})(?:@(?P<alias>[\w-]+)|[:/](?P<version>\d+))?", re.ASCII)
_ALIAS = re.compile(r"(?!v?\d+$)[A-Za-z0-9_-]{1,255}", re.ASCII)
_LOST = ("lost", "failed", "unsupported")


def parse_reference(text: str) -> tuple[str, str | None, str | None]:
    """Name, version and alias of ``NAME``, ``NAME:VERSION``, ``NAME/VERSION`` or ``NAME@ALIAS``.

    Raises:
        BadInput: it is none of them.

    >>> parse_reference("m-int_w8a8@certified"), parse_reference("m:3")
    (('m-int_w8a8', None, 'certified'), ('m', '3', None))
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise BadInput(
            f"{text!r:.120} names no published model; write NAME, NAME:VERSION (a whole number) or "
            "NAME@ALIAS"
        )
    return found["name"], found["version"], found["alias"]


def checked_alias(alias: str) -> str:
    """The alias.

    Raises:
        BadInput: a registry takes none of that form.
    """
    if not _ALIAS.fullmatch(alias) or alias.lower() == "latest":
        raise BadInput(
            f"{alias!r:.120} can be no alias; use letters, digits, _ and -, and neither 'latest' "
            "nor a version such as 3 or v3"
        )
    return alias


def why_not_certified(version: PublishedVersion) -> str | None:
    """Why a version may not be called certified, as its tags tell; None: it may."""
    tags = version.tags
    if "optikit.simulated" in tags:
        return "it is simulated: no server was measured"
    status = tags.get("status")
    if status is None:
        return "it has no certificate: no job of OptiKIT published it"
    if status == "not measured":
        return "it has no certificate: its flow measures nothing"
    if status != CERTIFIED:
        return f"its certificate is {status}, not certified"
    quality = tags.get("quality", "not compared")
    if quality in _LOST:
        return f"the quality gate says {quality}"
    return None


def earlier(model: PublishedModel, alias: str) -> str | None:
    """The version that an alias named before the one it names now; None: none.

    A rollback takes back what came before it, so that two of them go back by two.
    """
    named: list[str] = []
    for move in model.moves:
        if move.alias != alias:
            continue
        if move.how == "rollback" and move.after in named:
            while named[-1] != move.after:
                named.pop()
        elif not named or named[-1] != move.after:
            if not named and move.before is not None:
                named.append(move.before)
            named.append(move.after)
    now = model.aliases.get(alias)
    if now is not None and now in named:  # a move that was noted and never made is none
        while named[-1] != now:
            named.pop()
        named.pop()
    return named[-1] if named else None


def names_by_itself(model: PublishedModel, alias: str, version: str) -> bool:
    """Whether a version that a job published takes an alias without being asked.

    The newest one does, once: what a person moved since stays when the job is told again.
    """
    if any(move.alias == alias and move.after == version for move in model.moves):
        return False
    now = model.aliases.get(alias)
    return now is None or not now.isdecimal() or int(now) < int(version)


def headline(version: PublishedVersion) -> dict[str, Any]:
    """What a list says of a version, as plain JSON values; None where its tags say nothing."""
    tags = version.tags
    rate = tags.get("certified_rate_rps")
    return {
        "version": version.version,
        "aliases": list(version.aliases),
        "created": version.created,
        "status": tags.get("status"),
        "certified_rate_rps": _number(rate),
        "sku": tags.get("sku"),
        "recipe": tags.get("recipe"),
        "quality": tags.get("quality"),
        "slo": tags.get("slo"),
        "licence": tags.get("licence"),
        "job": tags.get("optikit.job_id"),
    }


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
