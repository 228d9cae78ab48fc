"""Where models come from and go to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from optikit.core.calibration import Ready
from optikit.core.chats import Chat
from optikit.core.paths import path_of
from optikit.spec.base import Spec
from optikit.spec.candidate import ArtifactRef, DatasetFacts
from optikit.spec.permit import ANYTHING, Permit

__all__ = [
    "Arrival",
    "BaselineStore",
    "ModelStore",
    "ReadTexts",
    "RegisteredModel",
    "RemoteFiles",
    "Texts",
    "path_of",
]


@dataclass(frozen=True)
class Texts:
    """Usable texts and chats, and what was left out."""

    texts: tuple[str, ...]
    rows: int
    """Rows read."""
    skipped: dict[str, int]
    """Rows left out, by reason: empty, duplicate, not text, no text field, malformed chat."""
    field: str | None
    """The field that held the text; None where all files are plain text."""
    chats: tuple[Chat, ...] = ()
    """Rows that are chats; ``core.calibration.prepare`` makes texts of them."""

    def facts(self, ready: Ready) -> DatasetFacts:
        """What became of the rows, after a model's tokenizer had its say."""
        return DatasetFacts(
            rows=self.rows,
            usable=len(ready.texts),
            skipped=dict(Counter(self.skipped) + Counter(ready.skipped)),
            cut=ready.cut,
            field=self.field,
        )


class ReadTexts(Protocol):
    """Reads calibration texts; see stores/datasets.py."""

    def __call__(self, path: Path, text_field: str | None = None) -> Texts:
        """All usable texts and chats of a file or folder.

        Raises:
            DatasetError: no text field, or no usable text at all.
        """


@dataclass(frozen=True)
class Arrival:
    """What came from elsewhere."""

    artifact: ArtifactRef
    address: str
    """With what moves in it resolved."""
    moved_bytes: int
    """0: it was here already."""
    seconds: float


class RemoteFiles(Protocol):
    """Brings what lies elsewhere into the content-addressed store, and folders elsewhere."""

    def send(self, folder: Path, text: str, permit: Permit = ANYTHING) -> str:
        """Bring a folder with all its files to an address, a list of digests last.

        Returns:
            The address of that list, pinned by its own digest.

        Raises:
            BadInput: nobody may write there.
            UnsafeInput: its site does not allow the address.
            SourceError: the place does not answer.
        """

    def bring(
        self,
        text: str,
        kind: Literal["model", "dataset"],
        permit: Permit = ANYTHING,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Arrival:
        """A model folder or dataset by address; what came before for the same content is not moved.

        Args:
            permit: which addresses may be read, and whether a model may bring code.
            progress: bytes that are there, of how many.

        Raises:
            BadInput: no such place, nothing of that kind there, or it changed meanwhile.
            DatasetError: no file of a dataset there.
            UnsafeInput: its site does not allow the address; what ``ModelStore.take`` refuses.
            SourceError: the place does not answer; what came is kept for the next attempt.
        """


class BaselineStore(Protocol):
    """Scores of uncompressed models, by all that they depend on."""

    def find(self, key: Mapping[str, str]) -> Path | None:
        """The folder with the files that were kept under this key, None where there is none."""

    def keep(self, key: Mapping[str, str], files: Path) -> None:
        """Copy the folder's files under the key, whole or not at all."""


class RegisteredModel(Spec):
    """A model that the local registry knows."""

    name: str
    version: str
    path: str
    digest: str
    size_bytes: int
    created: str
    """ISO 8601, UTC."""
    tags: dict[str, str] = Field(default_factory=dict)


class ModelStore(Protocol):
    """Models by name and version."""

    def find(self, name: str, version: str) -> RegisteredModel:
        """The model of that name and version.

        Raises:
            UnknownName: nobody registered it; names the command that does.
        """

    def add(
        self,
        path: Path,
        name: str,
        version: str | None,
        tags: dict[str, str] | None = None,
        *,
        permit: Permit = ANYTHING,
    ) -> RegisteredModel:
        """Register a folder. ``version`` None: the next whole number.

        Raises:
            BadInput: not a model folder, or the version exists with other content.
            UnsafeInput: pickle weights, or code that is not permitted, in the folder.
        """

    def list(self) -> list[RegisteredModel]:
        """All models, by name and then age."""

    def stored(self) -> Mapping[str, int]:
        """Bytes of all that is in the content-addressed store, by digest (``sha256:`` first)."""

    def missing_bytes(self, path: Path, *, dataset: bool = False, permit: Permit = ANYTHING) -> int:
        """The least that taking a model folder (or a local dataset) would write.

        0 where it may be in the store already, and where it cannot be said from here.
        """

    def take(self, path: Path, *, move: bool = False, permit: Permit = ANYTHING) -> ArtifactRef:
        """Bring a model folder into the content-addressed store, verified, whole or not at all.

        Args:
            move: rename the folder into the store instead of copying it.
            permit: where the folder may lie, and whether it may bring code.

        Raises:
            BadInput: no config.json, or weights named by the index are missing.
            UnsafeInput: pickle weights or code that is not permitted in the folder, or a link that
                leaves it or its roots.
        """

    def take_dataset(
        self, source: Path | str, split: str = "train", *, permit: Permit = ANYTHING
    ) -> ArtifactRef:
        """Bring a dataset (a folder, or one file of JSONL, parquet or text) into the store.

        Args:
            source: a path, or ``hf://ORG/NAME`` of the Hugging Face hub.
            split: of a hub's dataset.

        Raises:
            DatasetError: no such path, no file of these kinds, or the hub cannot be reached.
            UnsafeInput: a link that leaves the folder or its roots.
        """
