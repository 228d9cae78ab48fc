"""Fixtures and settings for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A deadline for each example measures the machine, which other processes share.
settings.register_profile("optikit", deadline=None)
settings.load_profile("optikit")


@pytest.fixture
def optikit_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder of its own, named by ``OPTIKIT_HOME``; jobs and models land there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("OPTIKIT_HOME", str(home))
    return home
