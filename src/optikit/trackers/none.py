"""No tracker: the archive alone keeps what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from optikit.spec.record import Trial

__all__ = ["TRACKER"]


class Nothing:
    """Writes nothing and gives no version."""

    name = "none"

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
        """Does nothing."""
        return None


TRACKER = Nothing()
