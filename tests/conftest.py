"""Fixtures and settings for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline for each example measures the machine, which other processes share. Continuous
# integration tries the same examples each time; at a desk new ones are drawn.
settings.register_profile("optikit", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("optikit")


@pytest.fixture
def optikit_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder of its own, named by ``OPTIKIT_HOME``; jobs and models land there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("OPTIKIT_HOME", str(home))
    return home
