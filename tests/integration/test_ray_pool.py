from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


ACTOR_WITH_AN_ENVIRONMENT = """
import ray, signal
from optikit.adapters.ray import cluster
stop = lambda *_: None
signal.signal(signal.SIGTERM, stop)
with cluster(None):
    assert signal.getsignal(signal.SIGTERM) is stop, "Ray's own action ends a driver without a word"
    where = ray.remote(runtime_env={"env_vars": {"A": "1"}})(lambda: __import__("sys").executable)
    print(ray.get(where.remote(), timeout=90))
"""


def test_workers_with_an_environment_start_from_a_path_with_a_space(tmp_path: Path) -> None:
    """Ray Tune gives its actors one: in such a folder they never came up. And a driver that is
    told to stop while it has a Ray says so in its own words."""
    folder = tmp_path / "a folder"
    folder.symlink_to(sys.prefix)
    python = folder / "bin/python"
    done = subprocess.run(
        [python, "-c", ACTOR_WITH_AN_ENVIRONMENT],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(str(python))
