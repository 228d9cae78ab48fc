"""Where models come from and go to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from optikit.spec.base import Spec
from optikit.spec.record import ArtifactRef

__all__ = ["ModelStore", "RegisteredModel"]


class RegisteredModel(Spec):
    """A model that the local registry knows."""

    name: str
    version: str
    path: str
    digest: str
    size_bytes: int
    created: str
    """ISO 8601, UTC."""
    tags: dict[str, str] = {}


class ModelStore(Protocol):
    """Models by name and version."""

    def find(self, name: str, version: str) -> RegisteredModel:
        """The model of that name and version.

        Raises:
            UnknownName: nobody registered it; names the command that does.
        """

    def add(
        self, path: Path, name: str, version: str | None, tags: dict[str, str] | None = None
    ) -> RegisteredModel:
        """Register a folder. ``version`` None: the next whole number.

        Raises:
            BadInput: not a model folder, or the version exists with other content.
            UnsafeInput: pickle weights or code in the folder.
        """

    def list(self) -> list[RegisteredModel]:
        """All models, by name and then age."""

    def take(self, path: Path) -> ArtifactRef:
        """Bring a model folder into the content-addressed store, verified, whole or not at all.

        Raises:
            BadInput: no config.json, or weights named by the index are missing.
            UnsafeInput: pickle weights or code in the folder, or a link that leaves it.
        """
