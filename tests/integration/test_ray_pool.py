from __future__ import annotations

import os
import subprocess
import sys
import time
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


RAYLET_DIES = """
import os, signal, time
from pathlib import Path
from optikit.errors import ClusterError
from optikit.pools import POOLS
from optikit.pools.base import Resources

def sleeps() -> None:
    time.sleep(300)

pools = POOLS.load("ray")
wish = Resources(cpus=1)
try:
    with pools.session(wish), pools.open("stage", wish) as pool:
        working, until = pool.submit(sleeps, resources=wish), time.monotonic() + 60
        while not pool._live or not all(actor._pid for actor in pool._live):
            assert time.monotonic() < until
            time.sleep(0.1)
        for task in Path("/proc/self/task").iterdir():
            for child in (task / "children").read_text().split():
                if "raylet/raylet" in Path(f"/proc/{child}/cmdline").read_text().split("\\0")[0]:
                    os.kill(int(child), signal.SIGKILL)
        began = time.monotonic()
        for attempt in (1, 2):
            try:
                working.result(60)
            except ClusterError as error:
                print(attempt, error, flush=True)
            working = pool.submit(sleeps, resources=wish)
        print("told after", time.monotonic() - began, flush=True)
        raise ClusterError("end")
except ClusterError:
    print("closed after", time.monotonic() - began, flush=True)
"""


def test_a_dead_raylet_is_told_and_the_driver_ends(tmp_path: Path) -> None:
    """Ray itself waits for ever for an actor that no raylet will start."""
    script = tmp_path / "script.py"
    script.write_text(RAYLET_DIES)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line[:1] in ("1", "2")]
    assert [line[:30] for line in told] == [f"{n} the Ray of this job is gone:" for n in "12"]
    assert "closed after" in done.stdout.splitlines()[-1]


DRIVER = """
import time
from optikit.adapters.ray import cluster
from optikit.adapters.ray_watch import raylet_pid
with cluster(None):
    print(raylet_pid(), flush=True)
    time.sleep(300)
"""


def of_raylet(pid: str) -> list[str]:
    """The raylet, and the processes that it started."""
    found = [pid] if Path(f"/proc/{pid}/cmdline").exists() else []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"RAY_RAYLET_PID={pid}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_killed_driver_leaves_nothing_of_its_ray(tmp_path: Path) -> None:
    """Ray's agents would report the raylet's end to a GCS that is gone, for more than 30 s."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as driver:
        assert driver.stdout is not None
        raylet = driver.stdout.readline().strip()
        assert len(of_raylet(raylet)) > 1
        driver.kill()
    until = time.monotonic() + 30
    while (left := of_raylet(raylet)) and time.monotonic() < until:
        time.sleep(0.5)
    assert left == []
