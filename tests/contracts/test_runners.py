from __future__ import annotations

from collections.abc import Iterator

import pytest

from optikit.pools import POOLS
from optikit.pools.base import Pool
from optikit.runners import RUNNERS
from optikit.runners.base import Runner
from optikit.testing.runners import RunnerContract


class TestPackedInline(RunnerContract):
    isolated = False

    @pytest.fixture
    def runner(self) -> Runner:
        return RUNNERS.load("packed")

    @pytest.fixture
    def pool(self) -> Iterator[Pool]:
        with POOLS.load("inline").open("test") as pool:
            yield pool


class TestPackedOnProcesses(RunnerContract):
    @pytest.fixture
    def runner(self) -> Runner:
        return RUNNERS.load("packed")

    @pytest.fixture
    def pool(self) -> Iterator[Pool]:
        with POOLS.load("process").open("test") as pool:
            yield pool
