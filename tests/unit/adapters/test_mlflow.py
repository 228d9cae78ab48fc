"""The lock on MLflow's database; MLflow itself is in tests/integration/test_mlflow.py."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from optikit.adapters import mlflow
from optikit.errors import OptikitError


def test_a_database_that_somebody_holds_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hangs in MLflow costs other jobs their projection, not their end."""
    monkeypatch.setattr(mlflow, "_PATIENCE_S", 0.0)
    path = tmp_path / "mlflow.lock"
    with path.open("w") as held, path.open("w") as asked:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OptikitError, match="held by another process"):
            mlflow._taken(asked.fileno())
        fcntl.flock(held, fcntl.LOCK_UN)
        mlflow._taken(asked.fileno())
        with pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
