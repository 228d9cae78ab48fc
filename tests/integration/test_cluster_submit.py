"""Jobs on a real Ray cluster of this machine, by the command line, each command a new process.

The cluster asks for a token. Its environment has no path to this checkout: what runs there is what
was sent.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from optikit.adapters.http_get import get_json
from optikit.archive import JobArchive
from optikit.remote.parcel import code_digest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(480)]

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-this-test-alone-0123456789"
SPEC: dict[str, Any] = {
    "flow": "benchmark",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 256, "output_tokens": 16},
    "slo": ["p95(e2e) <= 1 s"],
    "method": {"name": "doubling", "requests_per_probe": 40, "max_probes": 8},
}
LONG = {"flow": "tune", "flow_params": {"num_trials": 400}, "tuner": {"racing": False}}
HEAD = """
import sys, ray
ray.init(num_cpus=4, include_dashboard=True, dashboard_port=int(sys.argv[1]), _temp_dir=sys.argv[2])
print(ray._private.worker.global_worker.node.webui_url, flush=True)
sys.stdin.read()
ray.shutdown()
"""


MAIN = "import sys; from optikit.cli import main; sys.exit(main())"


def without(*beginnings: str) -> dict[str, str]:
    """This process's environment without the variables that begin so."""
    return {key: value for key, value in os.environ.items() if not key.startswith(beginnings)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    address: str
    home: Path
    laptop: Path
    """Working folder and home of whoever submits."""

    def environment(self, **changes: str) -> dict[str, str]:
        kept = without("RAY_", "OPTIKIT_")
        told = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        return {**kept, **told, "OPTIKIT_HOME": str(self.laptop / "home"), **changes}

    def start(self, *argv: str, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *argv],
            env=self.environment(**changes),
            cwd=self.laptop,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *argv: str, code: int = 0, **changes: str) -> str:
        """One command at this cluster; what it printed."""
        process = self.start(*argv, "--address", self.address, **changes)
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        assert process.returncode == code, f"{argv}: {process.returncode}\n{out}\n{err}"
        return out if code == 0 else out + err

    def spec(self, **changes: Any) -> str:
        path = self.laptop / "job.yaml"
        path.write_text(yaml.safe_dump({**SPEC, **changes}))
        return str(path)

    def submit(self, job_id: str, *argv: str, **changes: Any) -> JobArchive:
        """Send a job and leave it; its archive on the cluster."""
        home = ("--home", str(self.home))
        self.run("submit", self.spec(**changes), "--id", job_id, *home, "--detach", *argv)
        return JobArchive(self.home, job_id)

    def state(self, job_id: str) -> str:
        return str(json.loads(self.run("status", job_id, "--json"))["state"])


def wait_until(holds: Callable[[], bool], seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head in a process group of its own, with the interpreter's folder first on its path."""
    folder = tempfile.mkdtemp(prefix="okr")  # short: Ray's sockets lie below
    home, laptop = tmp_path_factory.mktemp("cluster"), tmp_path_factory.mktemp("laptop")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OPTIKIT_", "PYTHONP"))
    }
    told = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    with (laptop / "head.log").open("w") as log:
        head = subprocess.Popen(
            [sys.executable, "-c", HEAD, str(free_port()), folder],
            env={**kept, **told, "PATH": path},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert head.stdout is not None
    assert head.stdin is not None
    try:
        url = head.stdout.readline().strip()
        assert url, (laptop / "head.log").read_text()[-3000:]
        yield Cluster(f"http://{url}", home / "kept", laptop)
    finally:
        head.stdin.close()
        try:
            head.wait(timeout=30)
        finally:
            head.stdout.close()
            for pid in children_of(folder):
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def children_of(folder: str) -> list[int]:
    """Processes of the cluster, by its own session folder in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_job_on_the_cluster_has_the_result_that_it_has_here(cluster: Cluster) -> None:
    argv = ["submit", cluster.spec(), "--id", "job-equal", "--home", str(cluster.home)]
    progress = cluster.run(*argv)
    assert "SIMULATED: job job-equal: benchmark of qwen-2.5-7b on H100_2" in progress
    assert "stage benchmark: done" in progress
    assert "probe" in progress
    there = json.loads(cluster.run("show", "job-equal", "--json"))
    process = cluster.start("submit", cluster.spec(), "--json")
    here = json.loads(process.communicate(timeout=240)[0])
    assert here["corners"] == there["corners"]
    assert here["corners"]["baseline"]["rate_rps"] > 0
    assert (there["state"], there["verdict"]) == (here["state"], here["verdict"])

    archive = JobArchive(cluster.home, "job-equal")
    environment = archive.environment()
    assert environment["sent"]["code"] == code_digest(), "what ran there is what was sent"
    assert environment["differences"] == []
    assert archive.of_kind("state")[0]["pool"] == "ray"
    assert "job-equal" in cluster.run("list")
    assert "@optikit" not in cluster.run("logs", "job-equal")
    (trial,) = json.loads(cluster.run("trials", "job-equal", "--json"))
    assert trial["rate"]["rate_rps"] == here["corners"]["baseline"]["rate_rps"]


def test_a_killed_submitter_a_second_submission_and_another_follower(cluster: Cluster) -> None:
    changes = {"flow": "tune", "flow_params": {"num_trials": 2, "space": {"tensor_parallel": [2]}}}
    path = cluster.spec(**changes)
    argv = ("--id", "job-left", "--home", str(cluster.home), "--pool", "inline")
    first = cluster.start("submit", path, *argv, "--address", cluster.address)
    archive = JobArchive(cluster.home, "job-left")
    wait_until(lambda: bool(archive.of_kind("stage")))
    first.kill()
    first.communicate()
    again = cluster.run("submit", path, *argv, "--json")
    result = json.loads(again)
    assert (result["id"], result["state"]) == ("job-left", "done")
    assert len(archive.of_kind("created")) == 1
    assert [e["state"] for e in archive.of_kind("state")] == ["running", "done"]
    assert "result" in cluster.run("status", "job-left", "--follow").lower()
    other = cluster.spec(**changes, slo=["p95(e2e) <= 2 s"])
    said = cluster.run("submit", other, *argv, code=2)
    assert "job job-left of another spec" in said


def test_a_driver_that_is_killed_then_resumed_then_cancelled(cluster: Cluster) -> None:
    archive = cluster.submit("job-long", **LONG)
    wait_until(lambda: len(archive.of_kind("trial")) >= 2)
    assert cluster.state("job-long") == "running"
    os.kill(archive.of_kind("state")[-1]["pid"], signal.SIGKILL)
    wait_until(lambda: cluster.state("job-long") == "interrupted")
    said = cluster.run("status", "job-long", "--follow", code=1)
    assert "optikit resume job-long" in said
    before = [event["trial"]["id"] for event in archive.of_kind("trial")]

    cluster.run("resume", "job-long", "--detach")
    wait_until(lambda: len(archive.of_kind("trial")) >= len(before) + 2)
    assert "cancelled" in cluster.run("cancel", "job-long")
    assert cluster.state("job-long") == "cancelled"
    last = archive.of_kind("state")[-1]
    assert (last["state"], last["exit_code"]) == ("cancelled", 130), "its driver said so itself"
    assert not archive.driver_alive()
    ids = [event["trial"]["id"] for event in archive.of_kind("trial")]
    assert len(set(ids)) == len(ids), "no trial was measured twice"
    assert ids[: len(before)] == before
    assert "cancelled" in cluster.run("submit", cluster.spec(**LONG), "--id", "job-long", code=130)


def test_two_submissions_at_once_are_one_job(cluster: Cluster) -> None:
    """Both may look before either is there: Ray refuses the second, which is no error."""
    at = ("--address", cluster.address, "--id", "job-twice", "--home", str(cluster.home))
    path = cluster.spec()
    both = [cluster.start("submit", path, *at, "--pool", "inline", "--detach") for _ in range(2)]
    told = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert [out for out, _ in told] == ["job-twice\n"] * 2
    rows = json.loads(cluster.run("list", "--json"))
    assert len([row for row in rows if row["id"] == "job-twice"]) == 1
    cluster.run("status", "job-twice", "--follow")
    archive = JobArchive(cluster.home, "job-twice")
    assert [event["state"] for event in archive.of_kind("state")] == ["running", "done"]


def test_what_the_cluster_refuses_is_the_users_error(cluster: Cluster) -> None:
    home = ("--home", str(cluster.home))
    said = cluster.run("submit", cluster.spec(engine="vllm"), *home, code=2)
    assert "optikit models add PATH --name qwen-2.5-7b" in said
    gone = {"name": "m", "uri": "file:///only/on/my/laptop"}
    said = cluster.run("submit", cluster.spec(model=gone), *home, code=2)
    assert "on the cluster (" in said
    assert "/only/on/my/laptop" in said
    said = cluster.run("submit", cluster.spec(), *home, "--python", "/no/python", code=1)
    assert "never began on the cluster" in said
    assert "--python" in said


def test_who_does_not_answer_and_who_refuses(cluster: Cluster) -> None:
    said = cluster.run("list", code=1, RAY_AUTH_TOKEN="not-the-token-of-this-cluster-0123")
    assert "refused the token" in said
    assert "RAY_AUTH_TOKEN_PATH" in said

    class NoRay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), NoRay)
    Thread(target=server.serve_forever, daemon=True).start()
    other = Cluster(f"http://127.0.0.1:{server.server_port}", cluster.home, cluster.laptop)
    assert "not as Ray's Jobs API" in other.run("list", code=1)
    server.shutdown()
    server.server_close()
    assert "nobody answers" in other.run("submit", other.spec(), code=1)


def test_no_secret_of_the_sender_reaches_the_cluster(cluster: Cluster) -> None:
    """Neither in what the cluster says of the job, nor in the job's archive."""
    secret = "hf_a_secret_of_the_sender"
    home = ("--home", str(cluster.home), "--pool", "inline")
    argv = ("submit", cluster.spec(), "--id", "job-quiet", *home)
    cluster.run(*argv, HF_TOKEN=secret, OPENAI_API_KEY=secret)
    known = get_json(f"{cluster.address}/api/jobs/", TOKEN)
    (job,) = [one for one in known.body if one["submission_id"] == "job-quiet"]
    assert job["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    assert secret not in json.dumps(known.body)
    assert TOKEN not in json.dumps(known.body)
    for path in JobArchive(cluster.home, "job-quiet").root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
