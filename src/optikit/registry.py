"""The models that jobs published: looked up, promoted, rolled back.

Simulated jobs publish no version, so that none of this sees one.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optikit.archive import default_home
from optikit.core.bundle import PROOF
from optikit.core.promotion import (
    CERTIFIED,
    checked_alias,
    earlier,
    parse_reference,
    why_not_certified,
)
from optikit.errors import BadInput, OptikitError, UnknownName
from optikit.runner import TRACKER
from optikit.spec.published import AliasMove, PublishedModel, PublishedVersion
from optikit.stores.contents import model_digest
from optikit.stores.remote import missing_elsewhere
from optikit.trackers import TRACKERS
from optikit.trackers.base import KeepsModels, Registry

__all__ = [
    "PublishedFacts",
    "promote_model",
    "published_model",
    "published_models",
    "rollback_model",
]

_MODEL, _PROVENANCE = "model", "provenance.json"
_ANYWAY = "optikit.promoted_anyway"
"""Tag of a version that a person promoted against a refusal: who, when and why."""


@dataclass(frozen=True)
class PublishedFacts:
    """All that is known of a published model, or of one version of it."""

    model: PublishedModel
    version: PublishedVersion | None
    """None: the model as a whole was asked for."""
    provenance: dict[str, Any] | None = None
    """Of the version; None where its bundle has none, or cannot be read from here."""


def published_models(home: Path | None = None) -> list[PublishedModel]:
    """All of them by name; none where nothing was ever published.

    Raises:
        OptikitError: the registry does not answer.
    """
    with _registry(home) as there:
        return there.models() if there is not None else []


def published_model(reference: str, home: Path | None = None) -> PublishedFacts:
    """What a registry knows of ``NAME``, ``NAME:VERSION`` or ``NAME@ALIAS``.

    Raises:
        BadInput: no reference.
        UnknownName: no such model, version or alias.
        OptikitError: the registry does not answer.
    """
    with _registry(home) as there:
        model, version = _found(there, reference)
        if there is None or version is None:
            return PublishedFacts(model, None)
        return PublishedFacts(model, version, _provenance(there, version))


def promote_model(
    reference: str, to: str = CERTIFIED, anyway: str | None = None, home: Path | None = None
) -> AliasMove:
    """Put an alias on a version.

    Args:
        reference: ``NAME:VERSION``, or ``NAME@ALIAS`` for the version that this names now.
        anyway: why it is done against a refusal; noted in the history and in a tag of the version.

    Raises:
        BadInput: no version was named; or, of ``certified``: no certificate that says so, a quality
            gate that was lost, or a bundle that is gone or was changed.
        UnknownName: no such version.
    """
    alias = checked_alias(to)
    with _registry(home) as there:
        model, version = _found(there, reference)
        if there is None or version is None:
            raise BadInput(
                f"{reference} names no version; write {reference}:VERSION, one of {_numbers(model)}"
            )
        if model.aliases.get(alias) == version.version:
            raise BadInput(f"{alias} of {model.name} is version {version.version} already")
        problem = None
        if alias == CERTIFIED:
            problem = why_not_certified(version) or _why_gone(there, version)
        _refuse(f"{model.name}:{version.version} is not promoted to {alias}", problem, anyway)
        return _moved(there, version, alias, "promote", problem, anyway)


def rollback_model(
    name: str, alias: str = CERTIFIED, anyway: str | None = None, home: Path | None = None
) -> AliasMove:
    """Put an alias back on the version that it named before.

    Args:
        anyway: as for ``promote_model``.

    Raises:
        BadInput: it named none before, or that version's files are gone or were changed.
        UnknownName: no such model.
    """
    checked_alias(alias)
    with _registry(home) as there:
        model, version = _found(there, name)
        if there is None or version is not None:
            raise BadInput(f"{name}: give the model's name alone, and the alias by --alias")
        now, before = model.aliases.get(alias), earlier(model, alias)
        if before is None:
            raise BadInput(
                f"{alias} of {name} names {f'version {now}' if now else 'nothing'}, and nothing is "
                f"known that it named before; `optikit models promote {name}:VERSION --to {alias}` "
                f"puts it on one of {_numbers(model)}"
            )
        target = model.version(before)
        if target is None:
            raise BadInput(
                f"{alias} of {name} named version {before} before, which the registry has no "
                f"more; promote one of {_numbers(model)}"
            )
        problem = _why_gone(there, target)
        _refuse(f"{alias} of {name} is not put back on version {before}", problem, anyway)
        return _moved(there, target, alias, "rollback", problem, anyway)


@contextmanager
def _registry(home: Path | None) -> Iterator[Registry | None]:
    tracker = TRACKERS.load(TRACKER)
    if not isinstance(tracker, KeepsModels):
        raise OptikitError(f"the tracker {TRACKER} keeps no models")
    with tracker.registry((home or default_home()).absolute()) as there:
        yield there


def _found(
    there: Registry | None, reference: str
) -> tuple[PublishedModel, PublishedVersion | None]:
    name, number, alias = parse_reference(reference)
    if there is None:
        raise UnknownName(f"no model {name!r} was published: nothing was, below this home")
    model = there.model(name)
    if alias is not None:
        number = model.aliases.get(alias)
        if number is None:
            known = ", ".join(sorted(model.aliases)) or "(none)"
            raise UnknownName(f"{name} has no alias {alias!r}. Known: {known}")
    if number is None:
        return model, None
    version = model.version(number)
    if version is None:
        raise UnknownName(f"{name} has no version {number}; there are {_numbers(model)}")
    return model, version


def _numbers(model: PublishedModel) -> str:
    return ", ".join(one.version for one in model.versions[-10:]) or "(none)"


def _refuse(what: str, problem: str | None, anyway: str | None) -> None:
    if problem is not None and not (anyway or "").strip():
        raise BadInput(f"{what}: {problem}. `--anyway REASON` does it all the same, and is noted")


def _moved(
    there: Registry,
    version: PublishedVersion,
    alias: str,
    how: Any,
    problem: str | None,
    anyway: str | None,
) -> AliasMove:
    why = f"{anyway} (refused: {problem})"[:1000] if problem is not None else None
    move = there.move(version.name, alias, version.version, _who(), how, why)
    if why is not None:
        there.tag(version.name, version.version, _ANYWAY, f"{alias}: {move.by}, {move.at}: {why}")
    return move


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"


def _why_gone(there: Registry, version: PublishedVersion) -> str | None:
    """What is wrong with the files of a version; None where they are what was published."""
    digest, named = version.tags.get("model_digest"), version.tags.get("bundle")
    if digest is None or named is None:
        return "no job of OptiKIT published it, so that its files cannot be checked"
    bundle = Path(named)
    if (bundle / _MODEL).is_dir():
        return _changed(bundle, version)
    address = version.tags.get("bundle_address")
    if address is not None:
        return missing_elsewhere(address)
    if f"{_MODEL}/config.json" in there.files(version):
        return None
    return f"its bundle is not at {named} any more, and was brought nowhere else"


def _changed(bundle: Path, version: PublishedVersion) -> str | None:
    """Every byte of the model is read: what is promoted is what was measured."""
    try:
        found = model_digest(bundle / _MODEL, code=True)
    except (BadInput, OSError) as error:
        return f"its bundle is not whole: {error}"
    if found != version.tags["model_digest"]:
        return (
            f"the model in {bundle} has {found}, not the {version.tags['model_digest']} published"
        )
    said = version.tags.get("certificate_digest")
    if said is None:
        return None
    try:
        proof = hashlib.sha256((bundle / PROOF).read_bytes()).hexdigest()
    except OSError as error:
        return f"{bundle / PROOF} cannot be read: {error.strerror}"
    return None if said == f"sha256:{proof}" else f"{bundle / PROOF} is not what was published"


def _provenance(there: Registry, version: PublishedVersion) -> dict[str, Any] | None:
    raw: bytes | None
    try:
        raw = (Path(version.tags["bundle"]) / _PROVENANCE).read_bytes()
    except (KeyError, OSError):
        raw = there.text(version, _PROVENANCE)
    try:
        found = json.loads(raw) if raw else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
