from __future__ import annotations

import pytest

from optikit.pools import POOLS
from optikit.pools.base import Pools
from optikit.testing.pools import PoolContract


class TestInline(PoolContract):
    isolated = False

    @pytest.fixture
    def pools(self) -> Pools:
        return POOLS.load("inline")


class TestProcess(PoolContract):
    @pytest.fixture
    def pools(self) -> Pools:
        return POOLS.load("process")
