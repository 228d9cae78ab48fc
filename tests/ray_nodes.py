"""A Ray of several nodes on this machine, in a process group of its own.

``python tests/ray_nodes.py FILE NODE...`` with nodes such as ``H100:8:96`` (accelerator, pretended
GPUs, pretended CPUs). It writes its address as the first line of FILE, then a line each time that
the placement groups change: what holds which node. It ends when its stdin does.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optikit.adapters.process import end_group, group_of

_EVERY_S = 0.2


@contextmanager
def ray_nodes(folder: Path, *nodes: str, patience_s: float = 150.0) -> Iterator[RayNodes]:
    """Such a Ray; a raylet that misses its start limit of 30 s on a loaded machine is tried again.

    Args:
        folder: for what it writes.
    """
    for attempt in (1, 2):
        file = folder / f"ray-{attempt}.jsonl"
        with (folder / f"ray-{attempt}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, __file__, str(file), *nodes],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "RAY_AUTH_MODE": "disabled"},
                start_new_session=True,
            )
        group = group_of(process.pid, "ray of several nodes")
        try:
            until = time.monotonic() + patience_s
            while time.monotonic() < until and process.poll() is None:
                if file.exists() and file.read_text().count("\n") > 1:
                    yield RayNodes(file, process)
                    return
                time.sleep(0.2)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            end_group(group)
    raise AssertionError((folder / "ray-2.log").read_text()[-3000:])


class RayNodes:
    """What a test sees of it."""

    def __init__(self, file: Path, process: subprocess.Popen[bytes]) -> None:
        self._file, self.process = file, process

    @property
    def address(self) -> str:
        """For RAY_ADDRESS."""
        return str(json.loads(self._file.read_text().splitlines()[0])["address"])

    def seen(self) -> list[dict[str, Any]]:
        """Every state so far: ``t`` in seconds since the epoch, ``groups`` that stand by id (name,
        node's accelerator), ``free`` devices."""
        return [json.loads(line) for line in self._file.read_text().splitlines()[1:]]


def _main(file: Path, nodes: list[str]) -> None:
    import ray
    from ray.cluster_utils import Cluster
    from ray.util import placement_group_table

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    for node in nodes:
        accelerator, gpus, cpus = node.split(":")
        cluster.add_node(
            num_cpus=int(cpus),
            num_gpus=int(gpus),
            resources={f"accelerator_type:{accelerator}": 1},
            labels={"accelerator": accelerator},
        )
    ray.init(address=cluster.address, log_to_driver=False)
    kinds = {
        node["NodeID"]: key.split(":")[1]
        for node in ray.nodes()
        for key in node["Resources"]
        if key.startswith("accelerator_type:")
    }
    with file.open("a") as out:
        print(json.dumps({"address": cluster.address}), file=out, flush=True)
        last: dict[str, Any] = {}
        while not select.select([sys.stdin], [], [], _EVERY_S)[0]:
            groups = {
                name: {"name": row["name"], "kind": kinds.get(row["bundles_to_node_id"].get(0, ""))}
                for name, row in placement_group_table().items()
                if row["state"] == "CREATED"
            }
            now = {"groups": groups, "free": ray.available_resources().get("GPU", 0.0)}
            if now != last:
                print(json.dumps({"t": time.time(), **now}), file=out, flush=True)
                last = now
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
