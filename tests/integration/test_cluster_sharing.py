"""Jobs that share a Ray of several nodes; the GPUs are pretended, Ray counts them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.api import Job
from optikit.archive import JobArchive
from tests.ray_nodes import RayNodes, ray_nodes
from tests.running import run

pytestmark = pytest.mark.integration

SPEC: dict[str, Any] = {
    "flow": "quantize_and_tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "hold_devices": True},
    "flow_params": {"recipe": "int_w8a8", "num_trials": 3, "space": {"tensor_parallel": [1, 2]}},
    "workload": {"prompt_tokens": 128, "output_tokens": 32},
    "slo": ["p95(ttft) <= 500 ms"],
    "tuner": {"finalists": 0},
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with ray_nodes(tmp_path_factory.mktemp("ray"), "H100:8:96", "A100:4:48") as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, nodes: RayNodes, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    return tmp_path / "home"


def submitted(home: Path, folder: Path, sku: str) -> Job:
    file = folder / f"{sku}-{len(list(folder.iterdir()))}.json"
    file.write_text(json.dumps({**SPEC, "compute": {"sku": sku}}))
    out = run(home, "submit", str(file), "--detach", "--json")
    return Job.open(json.loads(out)["id"], home)


def test_jobs_of_different_skus_run_side_by_side(
    home: Path, tmp_path: Path, nodes: RayNodes
) -> None:
    """Each stage holds what it needs on a node of its SKU, and nothing of it stays."""
    before = nodes.seen()[-1]
    jobs = [submitted(home, tmp_path, sku) for sku in ("H100_4", "H100_4", "A100_4")]
    for job in jobs:
        assert job.result(timeout_s=500).state in ("done", "negative"), job.logs()[-2000:]
    seen = nodes.seen()
    kinds = [{group["kind"] for group in state["groups"].values()} for state in seen]
    assert {"H100", "A100"} in kinds
    names = {group["name"] for state in seen for group in state["groups"].values()}
    assert names == {"compress", "evaluate", "benchmark", "tune"} & names >= {"benchmark", "tune"}
    for state in seen:
        held = [group for group in state["groups"].values() if group["kind"] == "H100"]
        assert len(held) <= 2
    assert seen[-1]["groups"] == {}
    assert seen[-1]["free"] == before["free"] == 12.0
    assert_disjoint([job.archive for job in jobs])
    for job in jobs:
        ends = job.archive.of_kind("teardown")
        assert [end["stage"] for end in ends] == [s["name"] for s in job.status()["stages"]]
        assert all(end["left"] == [] and end["returned_s"] < 30 for end in ends)


def assert_disjoint(archives: list[JobArchive]) -> None:
    """No GPU of a node is held by two trials at a time."""
    held = []
    for archive in archives:
        kind = archive.plan().sku.accelerator
        ends = {event["trial"]["id"]: event["t"] for event in archive.of_kind("trial")}
        for event in archive.of_kind("placed"):
            devices = set(event["devices"].split(","))
            assert devices - {""}
            held.append((kind, devices, event["t"], ends[event["trial"]]))
    for number, (kind, devices, began, ended) in enumerate(held):
        for other_kind, others, other_began, other_ended in held[:number]:
            if kind == other_kind and began < other_ended and other_began < ended:
                assert not devices & others


ASKS = """
from optikit.pools import POOLS
from optikit.pools.base import Resources
with POOLS.load("ray").session(Resources(cpus=1, gpus=8, accelerator="A100")):
    pass
"""


@pytest.mark.usefixtures("home")
def test_what_the_cluster_never_can_serve_is_refused_at_once() -> None:
    """By a process of its own: this one may have the test session's Ray."""
    done = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.search(r"DoesNotFit: .*8 x A100.*8 GPUs H100", done.stderr), done.stderr
