from __future__ import annotations

import pytest

from optikit.errors import DoesNotFit
from optikit.pools import POOLS
from optikit.pools.base import Pools, Resources
from optikit.testing.pools import PoolContract

pytestmark = pytest.mark.integration


@pytest.mark.usefixtures("local_ray")
class TestRay(PoolContract):
    @pytest.fixture
    def pools(self) -> Pools:
        return POOLS.load("ray")

    def test_what_no_node_can_serve_is_refused_at_once(self, pools: Pools) -> None:
        wish = Resources(cpus=1, gpus=8, accelerator="H100")
        with pytest.raises(DoesNotFit, match=r"8 x H100.*nodes have"), pools.session(wish):
            pass
