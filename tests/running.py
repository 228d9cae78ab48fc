"""Jobs that tests submit by the command line, and what they wait for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from optikit.api import Job

ROOT = Path(__file__).parents[1]
OPTIKIT = str(Path(sys.executable).with_name("optikit"))
SPEC: dict[str, Any] = {
    "flow": "quantize_and_tune",
    "model": {"name": "tiny", "version": "1"},
    "dataset": {"path": str(ROOT / "examples/data/calibration")},
    "flow_params": {
        "recipe": "int_w8a8",
        "num_trials": 1,
        "calibration_samples": 16,
        "calibration_tokens": 64,
    },
    "compute": {"sku": "CPU_2"},
    "workload": {"prompt_tokens": 16, "output_tokens": 4},
    "slo": ["p95(e2e) <= 2 s"],
    "method": {
        "name": "doubling",
        "requests_per_probe": 40,
        "rate_tolerance": 0.5,
        "max_probes": 4,
    },
    "quality": {"limit": 8},
    "tuner": {"finalists": 0},  # every trial certifies itself: fewer servers to start
}


def run(home: Path, *argv: str, code: int = 0, timeout: float = 900) -> str:
    """One optikit command; its standard output."""
    done = subprocess.run(
        [OPTIKIT, *argv],
        env=environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stdout + done.stderr


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "OPTIKIT_HOME": str(home), "RAY_AUTH_MODE": "disabled"}


def write_spec(folder: Path, **changes: Any) -> str:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return str(path)


def submit(home: Path, folder: Path, pool: str = "process", **changes: Any) -> Job:
    out = run(home, "submit", write_spec(folder, **changes), "--detach", "--json", "--pool", pool)
    return Job.open(json.loads(out)["id"], home)


def wait_for(job: Job, what: Callable[[dict[str, Any]], bool], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        events = list(job.archive.events())
        if any(what(event) for event in events):
            return
        last = events[-1]
        ended = last["kind"] == "state" and last["state"] != "running"
        assert not ended, f"{last}\n{job.logs()[-3000:]}"
        time.sleep(0.1)
    raise AssertionError(f"it did not come to that: {events[-3:]}")
