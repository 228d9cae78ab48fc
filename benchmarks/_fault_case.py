"""One job with one fault, or a few of a kind: submitted, watched, and looked over at its end."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._fault_world import ROOT, World, world
from optikit.adapters.process import members
from optikit.api import Job, Submitter
from optikit.errors import OptikitError
from optikit.reports.check import check_archive
from optikit.reports.summary import FINAL, summary
from optikit.spec.job import OptimizationJob
from tests.object_store import ObjectStore

__all__ = ["Case", "Kind", "Outcome", "run_case"]

Event = Mapping[str, Any]
_POLL_S = 0.02
_LOOK_S = 0.5
"""Between looks at the processes' command lines."""


@dataclass
class Case:
    """A job in its world, as a fault sees it."""

    world: World
    rng: random.Random
    pool: str
    spec: dict[str, Any]
    job: Job = field(init=False)
    service: subprocess.Popen[bytes] | None = None
    store: ObjectStore | None = None
    """Where the job's model comes from and its bundle goes to."""
    events: list[Event] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    """What a fault itself saw that was not given back."""
    _offset: int = 0
    _looked: float = 0.0

    def submit(self) -> None:
        """Start the job."""
        job = Submitter(self.world.home, self.pool).start(OptimizationJob.parse(self.spec))
        assert isinstance(job, Job)  # no cluster's address was given
        self.job = job

    def news(self) -> list[Event]:
        """Events since the last look; now and then the job's processes are looked at as well."""
        if time.monotonic() - self._looked > _LOOK_S:
            self.world.processes()
            self._looked = time.monotonic()
        fresh: list[Event] = []
        for event, end in self.job.archive.events_and_ends(self._offset):
            self._offset = end
            fresh.append(event)
        self.events += fresh
        return fresh

    def wait(self, wanted: Callable[[Event], bool], nth: int = 1, timeout_s: float = 90.0) -> bool:
        """Until the nth such event from now on; False: the job ended, or nothing came in time."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            for event in self.news():
                if wanted(event):
                    nth -= 1
                    if nth == 0:
                        return True
                if event["kind"] == "state" and event["state"] in FINAL:
                    return False
            time.sleep(_POLL_S)
        return False

    def wait_for(self, kind: str, nth: int = 1, **facts: Any) -> bool:
        """Until the nth event of a kind with these facts."""

        def wanted(event: Event) -> bool:
            return event["kind"] == kind and all(event.get(k) == v for k, v in facts.items())

        return self.wait(wanted, nth)

    def pause(self, most_s: float) -> None:
        """A random moment later."""
        time.sleep(self.rng.uniform(0.0, most_s))

    def kill_driver(self) -> int:
        """SIGKILL of the driver; 1 where one was at work."""
        last = self.job.archive.of_kind("state")[-1]
        return kill(int(last["pid"])) if last["state"] == "running" else 0

    def end(self, timeout_s: float) -> str:
        """How the job ended: a final state, interrupted, or 'hangs'."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            self.news()
            state = str(self.job.status()["state"])
            if state in FINAL or state == "interrupted":
                return state
            time.sleep(0.1)
        return "hangs"


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Args:
        act: does it, when its moment has come; how many faults that were.
        spec: of the job.
        states: right ends.
        says: pattern that the end's message must have.
        first: right states before a resume ends the job; empty: no resume.
    """

    name: str
    act: Callable[[Case], int]
    spec: Callable[[Case], dict[str, Any]]
    states: tuple[str, ...] = ("done",)
    says: str = ""
    first: tuple[str, ...] = ()
    patience_s: float = 60.0
    """Of the job's writes to a disk."""
    pools: tuple[str, ...] = ("process",)
    real_engine: bool = False
    before: Callable[[Case], None] | None = None
    """Done before the job is submitted."""
    mlflow: bool = False
    timeout_s: float = 150.0
    weight: float = 1.0
    """How often it comes, against the others."""
    start: Callable[[Case], None] | None = None
    """Starts the job; None: its driver is started as a user starts it."""


@dataclass
class Outcome:
    """What became of it."""

    kind: str
    seed: int
    pool: str
    faults: int = 0
    state: str = ""
    wrong_state: int = 0
    lost_or_repeated_trials: int = 0
    orphans: int = 0
    leaks: int = 0
    corrupt: int = 0
    secrets: int = 0
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)
    """What was wrong, in words."""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def run_case(kind: Kind, seed: int, pool: str, keep: Path | None = None) -> Outcome:
    """Run it.

    Args:
        keep: folder to which the home of a case with something wrong is copied.
    """
    found = Outcome(kind.name, seed, pool)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    with world(folder, kind.real_engine) as place, _environment(place, kind, pool):
        case = Case(place, random.Random(f"{kind.name} {seed}"), pool, {})
        case.spec = kind.spec(case)
        try:
            if kind.before is not None:
                kind.before(case)
            if kind.start is not None:
                kind.start(case)
            else:
                case.submit()
            found.faults = kind.act(case)
            _to_the_end(case, kind, found)
            _look_over(case, found)
        except (OptikitError, OSError, AssertionError, subprocess.SubprocessError) as error:
            found.wrong_state = 1
            found.told.append(f"the harness met {type(error).__name__}: {error}")
        finally:
            if case.store is not None:
                case.store.stop()
        found.seconds = round(time.monotonic() - began, 1)
        if found.told and keep is not None:
            target = keep / f"{kind.name.replace(' ', '-')}-{seed}-{pool}"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(place.home, target, symlinks=True, ignore_dangling_symlinks=True)
    return found


def _to_the_end(case: Case, kind: Kind, found: Outcome) -> None:
    """Wait for the end, resume where the fault asks for it, and judge the state."""
    state = case.end(kind.timeout_s)
    before = {t.id: t for t in case.job.trials() if t.state != "failed"}
    if kind.first and found.faults:
        if state not in kind.first:
            found.wrong_state = 1
            found.told.append(f"{state} after the fault, not {' or '.join(kind.first)}")
        if state in FINAL - {"done", "negative", "inconclusive"} or state == "interrupted":
            left = case.world.left()
            if left:
                found.orphans += len(left)
                found.told += [f"left by the dead: {line}" for line in left]
            case.job.resume(case.pool)
            state = case.end(kind.timeout_s)
    found.state = state
    message = str(case.job.status()["message"])
    right = state in kind.states if found.faults else state == "done"
    if not right or (found.faults and kind.says and not re.search(kind.says, message)):
        found.wrong_state = 1
        found.told.append(f"ended {state} ({message[:300]})")
    after = {t.id: t for t in case.job.trials()}
    lost = [name for name, trial in before.items() if after.get(name) != trial]
    found.lost_or_repeated_trials += len(lost)
    found.told += [f"trial {name} was finished and is another now" for name in lost]


def _look_over(case: Case, found: Outcome) -> None:
    """Processes, what stages could not give back, the archive, secrets."""
    left = case.world.left()
    left += [f"group {g.pgid} ({g.what})" for g in case.job.archive.groups() if members(g)]
    found.orphans += len(left)
    found.told += [f"orphan {line}" for line in left]
    held = [*summary(case.job.archive)["left"], *case.leaks]
    found.leaks += len(held)
    found.told += [f"leak: {line}" for line in held]
    checked = check_archive(case.job.archive)
    for finding in checked.findings:
        repeated = finding.kind == "history" and "trial" in finding.where
        found.lost_or_repeated_trials += repeated
        found.corrupt += not repeated
        found.told.append(f"archive: {finding.kind} {finding.where}: {finding.recorded}")
    secrets = case.world.told_secrets()
    found.secrets += len(secrets)
    found.told += [f"secret in {where}" for where in secrets]


@contextlib.contextmanager
def _environment(place: World, kind: Kind, pool: str) -> Iterator[None]:
    """The job's variables in this process, which its driver inherits."""
    before, folder = dict(os.environ), Path.cwd()
    os.environ.update(place.environment())
    os.environ["OPTIKIT_DISK_PATIENCE_S"] = str(kind.patience_s)
    if kind.mlflow:
        del os.environ["FAULTS_WITHOUT_MLFLOW"]
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def kill(pid: int) -> int:
    """SIGKILL; 1 where somebody was hit."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1
