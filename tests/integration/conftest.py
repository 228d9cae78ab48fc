"""What integration tests share: one Ray for the whole session, and servers that end with a test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from optikit.adapters.process import end_group, members
from optikit.adapters.ray import cluster
from optikit.spec.endpoint import ProcessGroup


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A local Ray; starting one costs ten seconds and more, so the session has one."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # no token is written into the home folder
    with cluster(None):
        yield


@pytest.fixture
def groups() -> Iterator[list[ProcessGroup]]:
    """Groups that a test started; whatever the test did, none outlives it."""
    started: list[ProcessGroup] = []
    yield started
    left = [pid for group in started for pid in members(group)]
    for group in started:
        end_group(group, grace_s=0.0)
    assert left == []
