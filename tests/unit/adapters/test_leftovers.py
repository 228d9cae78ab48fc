"""Processes, ports and GPU memory that a stage left; nvidia-smi is a script that plays it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.adapters.leftovers import held_devices, sweep
from optikit.adapters.process import group_of
from optikit.spec.endpoint import ProcessGroup


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def gone() -> ProcessGroup:
    """A group whose number may be anybody's by now."""
    return ProcessGroup(pgid=1 << 22, started_ticks=1, boot_id=_boot(), what="server of t1")


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    script = folder / "nvidia-smi"
    script.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_what_lives_is_ended_and_named(sleeper: subprocess.Popen[bytes]) -> None:
    ended, left = sweep([group_of(sleeper.pid, "server of t0")], patience_s=0.0)
    assert (ended, left) == (["server of t0"], [])
    assert sleeper.wait(5) != 0


def test_a_group_of_another_machine_or_boot_is_not_touched(
    sleeper: subprocess.Popen[bytes],
) -> None:
    group = group_of(sleeper.pid, "elsewhere").model_copy(update={"boot_id": "another"})
    assert sweep([group], patience_s=0.0) == ([], [])
    assert sleeper.poll() is None


def test_a_port_that_stays_taken_is_named(gone: ProcessGroup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        group = gone.model_copy(update={"port": port})
        assert sweep([group], patience_s=0.0)[1] == [f"port {port} is taken (server of t1 had it)"]
    assert sweep([group], patience_s=0.0)[1] == []


def test_gpu_memory_that_is_not_given_back_is_named(
    gone: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, monkeypatch, "0, GPU-a, 3", "1, GPU-b, 20480", "2, GPU-c, 20480")
    group = gone.model_copy(update={"devices": ("0", "1")})
    assert sweep([group], patience_s=0.0)[1] == ["GPU 1 holds 20.0 GiB"]


def test_devices_are_known_by_index_or_uuid_and_may_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, monkeypatch, "0, GPU-a, 2048", "1, GPU-b, [N/A]")
    assert held_devices(["GPU-a", "1"]) == {"GPU-a": 2 << 30}
    assert held_devices([]) == {}
