"""What goes wrong, and when: each fault waits for its moment and says how many it was."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks._fault_case import Case, kill
from benchmarks._fault_jobs import BUCKET
from benchmarks._fault_world import MARK
from optikit.adapters.process import members
from optikit.api import Job, Submitter
from optikit.errors import OptikitError
from optikit.spec.job import OptimizationJob
from tests.object_store import ObjectStore
from tests.ray_nodes import ray_nodes

_DAYS_S = 2 * 86_400.0

# -- moments

_MOMENTS = (
    *(("state", 1), ("stage", 3), ("trial_started", 3)),
    *(("probe", 4), ("trial", 2), ("record", 2)),
)


def _at_work(case: Case) -> bool:
    """A random point of the job at which a worker is busy, or soon will be."""
    searches = case.spec["flow"] == "tune"
    wanted = case.rng.choice(("benchmark", "tune", "tune 2") if searches else ("benchmark",))
    found = case.wait_for("trial_started", 3 if wanted == "tune 2" else 1 + (wanted == "tune"))
    case.pause(2.5)
    return found


def _any_moment(case: Case) -> bool:
    """A random point between the driver's first word and the last stage."""
    kind, most = case.rng.choice(
        (
            ("state", 1),
            ("stage", 3),
            ("trial_started", 3),
            ("probe", 4),
            ("trial", 2),
            ("record", 2),
        )
    )
    found = case.wait_for(kind, case.rng.randint(1, most))
    case.pause(0.6)
    return found


# -- faults


def _workers(case: Case) -> list[int]:
    """Processes in which stages run."""
    return [
        pid
        for pid, command in case.world.processes().items()
        if "spawn_main" in command or command.startswith("ray::_Runner")
    ]


def kill_worker(case: Case) -> int:
    """SIGKILL of a stage's worker, once or twice, never twice in one trial."""
    hits = 0
    for _ in range(case.rng.choice((1, 2)) if case.spec["flow"] == "tune" else 1):
        if not (_at_work(case) if not hits else case.wait_for("trial_started")):
            break
        if hits:
            case.pause(2.0)
        workers = _workers(case)
        hits += kill(case.rng.choice(workers)) if workers else 0
    return hits


def kill_driver(case: Case) -> int:
    """SIGKILL of the driver."""
    return case.kill_driver() if _any_moment(case) else 0


def kill_engine(case: Case) -> int:
    """SIGKILL of the engine's whole process group while it is measured."""
    hits = 0
    # two in one trial are its end, and where there is but one trial the job's
    for _ in range(case.rng.choice((1, 2)) if case.spec["flow"] == "tune" else 1):
        if not case.wait_for("probe", case.rng.randint(1, 2)):
            break
        groups = case.job.archive.groups()
        before = len(groups)
        for pid in members(groups[-1]):
            kill(pid)
        hits += 1
        # the next one in another trial
        case.wait(lambda e: e["kind"] == "process_group", 2 if before == 1 else 1, 20.0)
    return hits


def kill_server_alone(case: Case) -> int:
    """SIGKILL of the supervisor: its guard has to end the server."""
    if not case.wait_for("probe", case.rng.randint(1, 3)):
        return 0
    return kill(case.job.archive.groups()[-1].pgid)


def steered(**faults: object) -> Any:
    """The stand-in server does it; every start that the faults name is one."""

    def before(case: Case) -> None:
        case.world.faults(**faults)

    return before


def as_told(case: Case) -> int:
    """Count the faults that the stand-in server made."""
    case.wait(lambda e: e["kind"] == "state" and e["state"] != "running", 1, 140.0)
    failed = [e for e in case.events if e["kind"] == "attempt_failed"]
    return max(1, len(failed))


def full_disk(case: Case) -> int:
    """No byte is free for some seconds."""
    if not _any_moment(case):
        return 0
    case.world.fill()
    time.sleep(case.rng.uniform(1.0, 5.0))
    case.world.empty()
    return 1


def stays_full(case: Case) -> int:
    """No byte is free until the job gives up, which it cannot even write down."""
    if not case.wait_for("trial_started", case.rng.randint(1, 3)):
        return 0
    case.world.fill()
    until = time.monotonic() + 60
    while case.job.archive.driver_alive() and time.monotonic() < until:
        time.sleep(0.1)
    case.world.empty()
    return 1


def read_only(case: Case) -> int:
    """The archive cannot be written for some seconds."""
    if not _any_moment(case):
        return 0
    case.world.read_only()
    time.sleep(case.rng.uniform(1.0, 5.0))
    case.world.writable()
    return 1


def stays_read_only(case: Case) -> int:
    """The archive cannot be written until the job gives up."""
    if not case.wait_for("trial_started", case.rng.randint(1, 3)):
        return 0
    case.world.read_only()
    until = time.monotonic() + 60
    while case.job.archive.driver_alive() and time.monotonic() < until:
        time.sleep(0.1)
    case.world.writable()
    return 1


def clock_jump(case: Case) -> int:
    """The wall clock of all processes of the job goes two days on or back, once or twice."""
    hits = 0
    for _ in range(case.rng.choice((1, 2))):
        if not _any_moment(case):
            break
        case.world.clock.write_text(str(case.rng.choice((-_DAYS_S, _DAYS_S))))
        hits += 1
    return hits


def no_tracker(case: Case) -> None:
    """The tracker's database is none."""
    (case.world.home / "mlflow.db").mkdir()


def tracker_failed(case: Case) -> int:
    # MLflow itself tries a database again for a minute and more
    return int(case.wait(lambda e: e["kind"] == "tracker_failed", 1, 170.0))


def with_store(patience_s: float) -> Any:
    """The job's model lies on an S3 server, which may be away for so long."""

    def before(case: Case) -> None:
        world = case.world
        case.store = ObjectStore(world.folder / "store", world.secret, without=[MARK])
        case.store.start()
        os.environ.update(case.store.environment(), OPTIKIT_SOURCE_PATIENCE_S=str(patience_s))
        client = case.store.client()
        client.create_bucket(Bucket=BUCKET)
        for path in (world.folder / "model").iterdir():
            client.upload_file(str(path), BUCKET, f"model/{path.name}")

    return before


def _store_gone(case: Case) -> bool:
    """SIGKILL of the S3 server as a stage begins that needs it."""
    assert case.store is not None
    stage = case.rng.choice(("fetch", "publish"))
    found = case.wait_for("stage", stage=stage, state="running")
    if found:
        case.store.stop()
    return found


def store_away(case: Case) -> int:
    """The object store is gone for some seconds."""
    if not _store_gone(case) or case.store is None:
        return 0
    case.pause(5.0)
    case.store.start()
    return 1


def store_stays_away(case: Case) -> int:
    """The object store is gone until the job gives up."""
    if not _store_gone(case) or case.store is None:
        return 0
    until = time.monotonic() + 90
    while case.job.archive.driver_alive() and time.monotonic() < until:
        time.sleep(0.1)
    case.store.start()
    return 1


def two_resumes(case: Case) -> int:
    """The driver dies, and two resume the job at the same moment: one wins, the other is told."""
    if not _any_moment(case) or not case.kill_driver():
        return 0
    while case.job.archive.driver_alive():
        time.sleep(0.05)
    told: list[str] = []

    def resume() -> None:
        try:
            Job(case.job.archive).resume(case.pool)
            told.append("won")
        except OptikitError as error:
            told.append(str(error))

    both = [threading.Thread(target=resume) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    loser = [text for text in told if text != "won"]
    if told.count("won") != 1 or not ("somebody else" in loser[0] or "is running" in loser[0]):
        raise OptikitError(f"two resumes at once: {told}")
    return 1


def cancelled(case: Case) -> int:
    """Somebody cancels at any moment; a resume ends the job."""
    if not _any_moment(case):
        return 0
    return int(case.job.cancel())


def by_service(case: Case) -> None:
    """Into the queue of a service. Inline: a worker process would look for real GPUs."""
    case.pool = "inline"
    submitter = Submitter(case.world.home, case.pool)
    case.job = submitter.open(OptimizationJob.parse(case.spec))
    _serve(case)


def _serve(case: Case) -> None:
    script = str(Path(__file__).with_name("_fault_service.py"))
    command = [sys.executable, script, str(case.world.home), case.job.id, case.pool]
    with (case.world.folder / "service.log").open("ab") as log:
        case.service = subprocess.Popen(command, stdout=log, stderr=log)


def kill_service(case: Case) -> int:
    """SIGKILL of the service at any moment; another one takes over some time later."""
    assert case.service is not None
    found = _any_moment(case)
    case.service.kill()
    case.service.wait()
    case.pause(3.0)
    _serve(case)
    case.wait(lambda e: e["kind"] == "state" and e["state"] in ("done", "failed"), 1, 120.0)
    case.service.kill()
    case.service.wait()
    return int(found)


def kill_node(case: Case) -> int:
    """SIGKILL of the raylet of one of two nodes of a Ray; the stage goes on on the other one."""
    with ray_nodes(case.world.folder, "H100:2:24", "H100:2:24") as nodes:
        os.environ["RAY_ADDRESS"] = nodes.address
        case.submit()
        found = case.wait_for("trial_started", case.rng.randint(1, 3))
        case.pause(3.0)
        raylets = [
            pid
            for pid, command in case.world.processes().items()
            if "raylet/raylet" in command.partition("\0")[0] and "accelerator_type:H100" in command
        ]
        hits = kill(case.rng.choice(raylets)) if found and raylets else 0
        case.wait(lambda e: e["kind"] == "state" and e["state"] != "running", 1, 200.0)
        until, whole = time.monotonic() + 30.0, 2.0 * (2 - hits)
        while nodes.seen()[-1]["free"] != whole and time.monotonic() < until:
            time.sleep(0.2)
        if nodes.seen()[-1]["free"] != whole:
            case.leaks.append(f"Ray has {nodes.seen()[-1]['free']} GPUs free of {whole}")
    del os.environ["RAY_ADDRESS"]
    return hits


def kill_raylet(case: Case) -> int:
    """SIGKILL of the raylet of the job's own Ray: its driver cannot live on."""
    if not _at_work(case):
        return 0
    raylets = [
        pid
        for pid, command in case.world.processes().items()
        if "raylet/raylet" in command.partition("\0")[0]
    ]
    return kill(raylets[0]) if raylets else 0
