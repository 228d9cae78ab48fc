"""What OptiKIT itself costs: a six-stage job whose stages do nothing, a trial that does nothing.

    python benchmarks/overhead.py [--quick]

The job is quantize_and_tune on the simulated engine with minimal probes, submitted by the command
line to the `ray` pool: a driver process, a local Ray of its own, real actors. Its time is that of
the whole command, Ray's start included; where it goes is read from the journal. A trial's overhead
is that of the packed runner on the same pool, one trial after the other, with tasks that return at
once: 20 against 1. Beside it what a trial adds to a job (`simulated_trial_s`: with the simulated
search, and numba, which each worker loads anew). Bars: at most 40 s a job and 2 s a trial. Run it
on a machine that does nothing else; the load at the start is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

from benchmarks._jobs import optikit
from benchmarks._workloads import where
from optikit.archive import open_job
from optikit.journal import Journaled
from optikit.pools import POOLS
from optikit.pools.base import Resources
from optikit.runners import RUNNERS
from optikit.runners.base import Launch

BAR_JOB_S, BAR_TRIAL_S = 40.0, 2.0
TRIALS, QUICK_TRIALS = 20, 6
JOBS, QUICK_JOBS = 3, 1
EVENTS = 200
ROOMS = {
    "command line": "import optikit.cli._follow, optikit.api",
    "driver": "import optikit.runner",
    "ray": "import ray",
    "worker": "import optikit.stages._measure",
    "mlflow client": "import mlflow.tracking",
}


def spec(trials: int) -> dict[str, Any]:
    """A job whose stages do next to nothing."""
    return {
        "flow": "quantize_and_tune",
        "model": {"name": "smollm2-135m"},
        "engine": "simulated",
        "compute": {"sku": "H100_1"},
        "flow_params": {"recipe": "int_w8a8", "num_trials": trials},
        "workload": {"prompt_tokens": 16, "output_tokens": 2},
        "method": {
            **{"name": "doubling", "requests_per_probe": 20, "max_probes": 2},
            "warmup_requests": 0,
        },
        "tuner": {"name": "random", "finalists": 0, "racing": False, "transfer": False},
    }


def job(home: Path, trials: int) -> dict[str, Any]:
    """One job by the command line: seconds of the whole, of each stage, and between them."""
    file = home / f"job-{trials}.json"
    file.write_text(json.dumps(spec(trials)))
    before = time.time()
    said = json.loads(optikit(home, "submit", str(file), "--json", "--pool", "ray"))
    ended = time.time()
    events = list(open_job(home, said["id"]).events())

    def first(kind: str, **facts: Any) -> float:
        return next(
            float(event["t"])
            for event in events
            if event["kind"] == kind and all(event.get(k) == v for k, v in facts.items())
        )

    done = [event for event in events if event["kind"] == "stage" and event["state"] == "done"]
    stages = {event["stage"]: event["seconds"] for event in done}
    assert len(stages) == 6, f"not six stages: {sorted(stages)}"
    final = [event for event in events if event["kind"] == "state"][-1]
    assert final["exit_code"] in (0, 4), final
    measured = [event for event in events if event["kind"] == "trial"]
    created, running = first("created"), first("state", state="running")
    began = first("stage", stage="fetch", state="running")
    tracker_s = 0.0
    if any(event["kind"] == "tracked" for event in events):
        tracker_s = first("tracked") - max(e["t"] for e in events if e["kind"] == "published")
    return {
        "job_s": ended - before,
        "trials": len(measured),
        "events": len(events),
        "parts": {
            "command until the archive is open": created - before,
            "driver's start and imports": running - created,
            "ray's start": began - running,
            "stages": sum(stages.values()),
            "between stages": done[-1]["t"] - began - sum(stages.values()),
            "ray's end": final["t"] - done[-1]["t"],
            "command's end": ended - final["t"],
        },
        "stages": stages,
        "tracker_s": tracker_s,
    }


def nothing() -> None:
    """A trial."""


@dataclass
class Idle:
    """Trials that return at once."""

    count: int
    folder: Path
    started: int = 0
    answers: list[float] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.started >= self.count

    def next(self, free: int) -> Launch | None:
        if self.finished:
            return None
        self.started += 1
        return Launch(f"t{self.started}", 1, Resources(cpus=1.0), None, nothing)

    def start(self, launch: Launch) -> None: ...

    def done(self, launch: Launch, answer: Any, occupied_s: float) -> None:
        assert answer is None, answer
        self.answers.append(occupied_s)


def bare_trials(count: int) -> dict[str, float]:
    """The packed runner on real actors, one after the other; a process of its own owns the Ray."""
    pools = POOLS.load("ray")
    found = {}
    with pools.session(Resources()), tempfile.TemporaryDirectory() as folder:
        for name, trials in (("first_s", 1), ("one_s", 1), ("all_s", count)):
            began = time.monotonic()
            with pools.open("tune") as pool:
                idle = Idle(trials, Path(folder))
                RUNNERS.load("packed").run(idle, pool, 1, lambda: 1e9)
            found[name] = time.monotonic() - began
            assert len(idle.answers) == trials
            found["actor_s"] = statistics.median(idle.answers)
    found["trial_s"] = (found["all_s"] - found["one_s"]) / (count - 1)
    return found


def imports() -> dict[str, float]:
    """Seconds of a new interpreter that imports what each process needs, best of three."""
    found = {}
    for room, code in ROOMS.items():
        times = []
        for _ in range(3):
            began = time.monotonic()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            times.append(time.monotonic() - began)
        found[room] = round(min(times), 2)
    return found


@dataclass(frozen=True)
class _Folder(Journaled):
    place: Path

    @property
    def root(self) -> Path:
        return self.place


def append_ms() -> float:
    """Milliseconds of one event of a journal, flushed to disk."""
    with tempfile.TemporaryDirectory() as folder:
        journal = _Folder(Path(folder))
        began = time.monotonic()
        for number in range(EVENTS):
            journal.event("note", text=f"event {number}")
        return (time.monotonic() - began) / EVENTS * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one job of each kind, fewer trials")
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        print(json.dumps(bare_trials(args.bare)))
        return 0
    trials, repeats = (QUICK_TRIALS, QUICK_JOBS) if args.quick else (TRIALS, JOBS)
    load = os.getloadavg()[0]
    jobs, more = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:  # a new home: MLflow's database is made too
            jobs.append(job(Path(folder), 1))
            more.append(job(Path(folder), trials))
    bare = subprocess.run(
        [sys.executable, __file__, "--bare", str(trials)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    alone = json.loads(bare.stdout.splitlines()[-1])
    one = sorted(jobs, key=lambda found: float(found["job_s"]))[len(jobs) // 2]
    many = sorted(more, key=lambda found: float(found["job_s"]))[len(more) // 2]
    added = many["trials"] - one["trials"]
    assert added > 0, f"the larger job ran {many['trials']} trials, the smaller {one['trials']}"
    rows = {name: round(seconds, 2) for name, seconds in one["parts"].items()}
    for name, seconds in rows.items():
        print(f"{seconds:8.2f} s  {name}")
    simulated_s = (many["stages"]["tune"] - one["stages"]["tune"]) / added
    summary = {
        "job_s": round(one["job_s"], 2),
        "jobs_s": [round(found["job_s"], 2) for found in jobs],
        "trial_s": round(alone["trial_s"], 3),
        "simulated_trial_s": round(simulated_s, 3),
        "actor_s": round(alone["actor_s"], 3),
        "stages": {name: round(seconds, 2) for name, seconds in one["stages"].items()},
        "parts": rows,
        "tracker_s": round(one["tracker_s"], 2),
        "imports_s": imports(),
        "event_ms": round(append_ms(), 2),
        "events": one["events"],
        "trials": many["trials"],
        "within_bars": one["job_s"] <= BAR_JOB_S and alone["trial_s"] <= BAR_TRIAL_S,
        "load": round(load, 2),
        "quick": args.quick,
        "where": where(),
    }
    print(json.dumps(summary))
    return 0 if summary["within_bars"] else 1


if __name__ == "__main__":
    sys.exit(main())
