"""A handful of faults in whole jobs, as benchmarks/faults.py injects hundreds."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks._fault_case import run_case
from benchmarks._fault_kinds import KINDS
from benchmarks._fault_world import world
from benchmarks.faults import BAD
from optikit.errors import ArchiveError, OptikitError
from optikit.journal import Journaled
from optikit.pools import POOLS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="faults of the disk are made by mounts"),
]


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("worker killed", 1),
        ("driver killed", 2),
        ("engine killed", 4),
        ("disk full", 8),
        ("stays read-only", 9),
        ("clock jumps", 10),
        ("two resumes", 11),
    ],
)
def test_a_fault_leaves_nothing_behind_and_loses_nothing(
    name: str, seed: int, tmp_path: Path
) -> None:
    """The right state, no trial lost or run twice, no orphan, no leak, no damage, no secret."""
    found = run_case(KINDS[name], seed, "process", keep=tmp_path)
    assert {count: getattr(found, count) for count in BAD} == dict.fromkeys(BAD, 0), found.told
    assert found.faults >= 1


class Notes(Journaled):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def root(self) -> Path:
        return self._folder


def test_a_disk_that_fills_up_for_real_takes_the_event_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a tmpfs, with the errors that the kernel gives."""
    monkeypatch.setenv("OPTIKIT_DISK_PATIENCE_S", "0.5")
    with world(tmp_path / "world") as place:
        notes = Notes(place.home)
        notes.event("note", text="one")
        place.fill()
        with pytest.raises(OptikitError, match="No space left on device"):
            notes.event("note", text="x" * 100_000)
        place.empty()
        notes.event("note", text="two")
        assert [event["text"] for event in notes.events()] == ["one", "two"]
        assert notes.damaged_lines() == 0
        place.read_only()
        with pytest.raises(ArchiveError, match="Read-only"):
            notes.event_now("note", text="three")
        place.writable()
        notes.event("note", text="four")
        assert [event["text"] for event in notes.events()] == ["one", "two", "four"]


def test_the_injector_sees_what_it_looks_for(tmp_path: Path) -> None:
    """An orphan, a key in a file and one in a command line: the checks can fail."""
    with world(tmp_path / "world") as place:
        command = [sys.executable, "-c", "import time; time.sleep(60)", place.secret]
        child = subprocess.Popen(command, env={**os.environ, **place.environment()})
        (place.home / "driver.log").write_text(f"key: {place.secret}")
        try:
            until = time.monotonic() + 10
            while not place.processes() and time.monotonic() < until:
                time.sleep(0.05)
            assert [line.split(":")[0] for line in place.left(0.0)] == [str(child.pid)]
            assert place.told_secrets() == [f"command line of process {child.pid}", "driver.log"]
        finally:
            child.kill()
            child.wait()
        assert place.left(5.0) == []


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A driver that is killed leaves no worker that measures on, and writes into its archive."""
    mark = tmp_path / "pid"
    code = (
        "import sys\n"
        "from optikit.pools import POOLS\n"
        "from optikit.pools.base import Resources\n"
        "from optikit.testing.pools import write_then_wait\n"
        "if __name__ == '__main__':\n"
        "    with POOLS.load('process').open('test') as pool:\n"
        "        pool.submit(write_then_wait, sys.argv[1], resources=Resources()).result()\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(code)
    driver = subprocess.Popen([sys.executable, str(script), str(mark)])
    until = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    worker = int(mark.read_text())
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ESRCH)  # noqa: PT017
            return
        if state in "ZX":
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the worker outlived its driver")


def test_every_kind_of_fault_has_an_end_and_a_pool() -> None:
    """What the benchmark can inject is what it says."""
    assert len(KINDS) >= 25
    for kind in KINDS.values():
        assert kind.states
        assert set(kind.pools) <= set(POOLS.names())
