"""A whole job on paper in an archive, and ways to alter what it says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optikit import runner
from optikit.api import Submitter
from optikit.archive import JobArchive
from optikit.journal import event_of, sealed
from optikit.pools.inline import POOLS
from optikit.spec.job import OptimizationJob

SPEC: dict[str, Any] = {
    "flow": "tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "flow_params": {"num_trials": 3, "space": {"tensor_parallel": [1, 2], "max_num_seqs": [64]}},
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 1500 ms"],
    "method": {"name": "doubling", "requests_per_probe": 40, "max_probes": 6},
    "tuner": {"name": "grid", "finalists": 1, "transfer": False},
}


def driven(home: Path, **changes: Any) -> JobArchive:
    """The job, run to its end in this process."""
    job = Submitter(home).open(OptimizationJob.parse({**SPEC, **changes}))
    assert runner.drive(job.archive, POOLS, "none") == 0, job.status()
    return job.archive


def copied(archive: JobArchive, folder: Path) -> JobArchive:
    """The archive in a home of its own; artifacts and bundle stay where they are."""
    shutil.copytree(archive.home, folder, symlinks=True)
    return JobArchive(folder, archive.job_id)


def altered(
    archive: JobArchive, wanted: Callable[[dict[str, Any]], bool], change: Callable[[Any], None]
) -> None:
    """Change each such event, with a right checksum: somebody knew what to do."""
    lines, hits = [], 0
    for raw in archive.journal.read_bytes().splitlines(keepends=True):
        event = event_of(raw)
        if event is not None and wanted(event):
            change(event)
            raw, hits = sealed(event), hits + 1
        lines.append(raw)
    assert hits, "nothing was altered"
    archive.journal.write_bytes(b"".join(lines))


def is_trial(name: str) -> Callable[[dict[str, Any]], bool]:
    """An event, or the record, that holds the trial's figures."""
    return lambda event: event["kind"] == "trial" and event["trial"]["id"] == name
