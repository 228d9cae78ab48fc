"""Fixtures of the stages' tests."""

from __future__ import annotations

import pytest

from optikit.core import retries
from tests.unit.stages.publish_case import case

__all__ = ["case"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow one another at once, and no disk is waited for."""
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setenv("OPTIKIT_DISK_PATIENCE_S", "0")
