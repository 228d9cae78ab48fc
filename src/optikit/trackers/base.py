"""What publishing may ask of an experiment tracker. It projects the archive; it is no record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from optikit.spec.published import AliasMove, PublishedModel, PublishedVersion
from optikit.spec.record import Trial

__all__ = ["KeepsModels", "Registry", "Tracker"]


class Tracker(Protocol):
    """Runs, nested runs and model versions."""

    name: str

    def record(
        self,
        home: Path,
        job_id: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        trials: Sequence[Trial],
        bundle: Path | None,
        model_name: str,
        tags: Mapping[str, str],
    ) -> str | None:
        """One run for the job, one nested run a trial, one new version of the model.

        A second call for the same job updates what the first wrote and adds no version.

        Args:
            home: OptiKIT's home folder, where a local tracker keeps its database.
            bundle: folder that the model version points at; None: no version is made.
            model_name: registered model's name.

        Returns:
            The version that the tracker gave the model; None where it gave none.

        Raises:
            OptikitError: the tracker is not installed or does not answer.
        """


class Registry(Protocol):
    """The models that jobs published. Every method raises ``OptikitError`` where it is away."""

    def models(self) -> list[PublishedModel]:
        """All models by name."""

    def model(self, name: str) -> PublishedModel:
        """One model.

        Raises:
            UnknownName: with the nearest known ones.
        """

    def move(
        self,
        name: str,
        alias: str,
        version: str,
        by: str,
        how: Literal["publish", "promote", "rollback"],
        why: str | None = None,
    ) -> AliasMove:
        """Put an alias on a version, and note from where, by whom and why."""

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """A tag on a version, over one of that key."""

    def files(self, version: PublishedVersion) -> Mapping[str, int]:
        """Bytes of the version's files in the registry's own store, by relative name."""

    def text(self, version: PublishedVersion, name: str) -> bytes | None:
        """A small one of them; None where it has none."""


@runtime_checkable
class KeepsModels(Protocol):
    """A tracker that is a registry of models, too."""

    def registry(self, home: Path) -> AbstractContextManager[Registry | None]:
        """Open it; None where nothing was ever told to it."""
