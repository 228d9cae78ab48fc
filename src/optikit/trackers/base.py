"""What publishing may ask of an experiment tracker. It projects the archive; it is no record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from optikit.spec.record import Trial

__all__ = ["Tracker"]


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
