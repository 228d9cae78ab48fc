"""Models that jobs published, as a registry keeps them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["AliasMove", "PublishedModel", "PublishedVersion"]


class AliasMove(Spec):
    """An alias was put on a version."""

    alias: str
    before: str | None
    """Version that it named; None: none."""
    after: str
    at: str
    """ISO 8601, UTC."""
    by: str
    """A person's name on the machine, or ``job ID``."""
    how: Literal["publish", "promote", "rollback"]
    why: str | None = None
    """Reason of who did it against a refusal."""


class PublishedVersion(Spec):
    """One bundle."""

    name: str
    version: str
    created: str
    """ISO 8601, UTC."""
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    """``status``, ``recipe``, ``sku``, ``certified_rate_rps``, ``model_digest``, ``bundle``, ...;
    empty where another tool registered it."""
    source: str = ""
    """Where the registry keeps its files."""
    run_id: str | None = None


class PublishedModel(Spec):
    """All versions under a name."""

    name: str
    aliases: dict[str, str] = Field(default_factory=dict)
    """Version by alias."""
    versions: tuple[PublishedVersion, ...] = ()
    """Oldest first."""
    moves: tuple[AliasMove, ...] = ()
    """Of aliases, oldest first."""

    def version(self, number: str) -> PublishedVersion | None:
        """The version of that number, None where there is none."""
        return next((v for v in self.versions if v.version == number), None)
