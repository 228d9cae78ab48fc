"""What may go wrong while a model is compressed: killed workers, full disks, broken candidates."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.api import Job, leftovers
from tests.models import tiny_llama
from tests.running import ROOT, run, submit, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

SMOLLM = ROOT / ".cache/models/smollm2-135m"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    model = tiny_llama(ROOT / ".cache/models/tiny-llama")
    run(folder, "models", "add", str(model), "--name", "tiny", "--version", "1")
    yield folder
    assert leftovers(folder) == []


def compressing(job: Job) -> Iterator[int]:
    """Worker after worker that compresses for the job; ends with the job."""
    driver = job.archive.of_kind("state")[-1]["pid"]
    seen: set[int] = set()
    until = time.monotonic() + 300
    while time.monotonic() < until and job.archive.of_kind("state")[-1]["state"] == "running":
        for pid in _workers(driver) - seen:
            seen.add(pid)
            yield pid
        time.sleep(0.05)


def _workers(driver: int) -> set[int]:
    """Its child processes that have read the model's weights, so are in the middle of it."""
    found = set()
    for task in Path(f"/proc/{driver}/task").glob("*/children"):
        for child in task.read_text().split():
            try:
                maps = Path(f"/proc/{child}/maps").read_text()
            except OSError:
                continue
            if "libtorch" in maps:
                found.add(int(child))
    return found


def test_a_killed_compression_is_made_again(home: Path, tmp_path: Path) -> None:
    job = submit(home, tmp_path, flow="quantize")
    wait_for(job, lambda e: e["kind"] == "stage" and e["stage"] == "compress")
    os.kill(next(compressing(job)), signal.SIGKILL)
    wait_for(job, lambda e: e["kind"] == "record" and e["record"]["stage"] == "compress")
    job.cancel()  # what comes after is not this test's
    (failed,) = [e for e in job.archive.of_kind("attempt_failed") if "compression" in e["what"]]
    assert "code -9" in failed["error"]
    record: Any = job.archive.records()["compress"]
    (candidate,) = record.candidates
    assert (candidate.attempts, candidate.error) == (2, None)
    assert list((job.archive.root / "candidates").iterdir()) == []


def test_a_compression_that_always_dies_ends_the_job_after_its_attempts(
    home: Path, tmp_path: Path
) -> None:
    job = submit(home, tmp_path, flow="quantize", flow_params={"calibration_samples": 8})
    wait_for(job, lambda e: e["kind"] == "stage" and e["stage"] == "compress")
    for pid in compressing(job):
        os.kill(pid, signal.SIGKILL)
    last = job.archive.of_kind("state")[-1]
    assert (last["state"], last["exit_code"]) == ("failed", 1)
    assert "compression c0-int_w8a8" in last["message"] or "code -9" in last["message"]
    assert len(job.archive.of_kind("attempt_failed")) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A home of 400 MB, which is what the plan asks for and little more."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)])
    if mounted.returncode != 0:
        pytest.skip("this machine mounts no tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_and_no_half_checkpoint(
    small_disk: Path, tmp_path: Path
) -> None:
    model = tiny_llama(ROOT / ".cache/models/tiny-llama")
    run(small_disk, "models", "add", str(model), "--name", "tiny", "--version", "1")
    job = submit(small_disk, tmp_path, flow="quantize")
    wait_for(job, lambda e: e["kind"] == "stage" and e["stage"] == "compress")
    room = shutil.disk_usage(small_disk).free - 100_000  # for the journal, not for a checkpoint
    with (small_disk / "ballast").open("wb") as ballast:
        ballast.write(b"\0" * room)
    until = time.monotonic() + 300
    while time.monotonic() < until and job.archive.of_kind("state")[-1]["state"] == "running":
        time.sleep(0.2)
    last = job.archive.of_kind("state")[-1]
    assert (last["state"], last["exit_code"]) == ("failed", 1), last
    assert "disk" in last["message"], last
    assert list((job.archive.root / "candidates").iterdir()) == []
    assert leftovers(small_disk) == []
