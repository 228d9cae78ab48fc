"""What may be asked of a kind of address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from optikit.core.addresses import Address, RemoteFile
from optikit.spec.permit import ANYTHING, Permit

__all__ = ["Asker", "Source", "Tree"]


@dataclass(frozen=True)
class Asker:
    """Who opens an address: what leads on to somewhere else asks whether it may."""

    home: Path
    """OptiKIT's home, where a registry without a server lies."""
    permit: Permit = ANYTHING


class Tree(Protocol):
    """One folder elsewhere, or one file: then a folder with that file alone.

    Several threads may read at once. Every method raises ``BadInput`` where nothing is there or
    nobody may look, and ``SourceError`` where the place does not answer or breaks off: the same
    call may do later.
    """

    @property
    def pinned(self) -> str:
        """The address with what moves in it resolved: a branch to its commit."""

    @property
    def digest(self) -> str | None:
        """``sha256:`` of the folder as the store computes it, where the place knows; what comes
        must have it."""

    def files(self) -> Mapping[str, RemoteFile]:
        """All files below it by relative name, as the place has them now."""

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` (exclusive) of a file."""

    def write(self, name: str, source: Path) -> None:
        """Bring a file there, whole or not at all; raises ``BadInput`` where nothing can be."""

    def remove(self, name: str) -> None:
        """Take a file away from there."""


class Source(Protocol):
    """One kind of address; credentials come from the environment, never from an address."""

    name: str
    """Of the scheme."""

    def open(self, address: Address, asker: Asker) -> Tree:
        """The tree there; may resolve a revision, reads no file.

        Raises:
            BadInput: the address is none of this scheme, or nobody may look.
            UnsafeInput: it leads on to where the asker's site does not allow.
            SourceError: the place does not answer.
            OptikitError: a library is missing; says what to install.
        """
