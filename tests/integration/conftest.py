"""What integration tests share: one Ray for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from optikit.adapters.ray import cluster


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A local Ray; starting one costs ten seconds and more, so the session has one."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # no token is written into the home folder
    with cluster(None):
        yield
