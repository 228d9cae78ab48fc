"""How much of the GPUs do trials hold? Our loop and Ray Tune on the same trials, on a real Ray.

    python benchmarks/utilisation.py [--quick] [--trials N] [--median S] [--only pools|ray_tune]

16 pretended GPUs on 2 nodes of this machine (Ray counts them, nothing uses them). A trial is an
actor that sleeps through its start-up and its measuring; devices 1 to 8, expected durations off by
a factor (log-normal, 30 %). What is reserved is what Ray says is taken, sampled while they run.
The two run at the same time, each on a Ray of its own (with --quick one after the other). Beside
it the policy of core/packing.py in virtual time at 8 to 512 GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np

from benchmarks._workloads import report, where
from optikit.adapters.ray import devices_by_node
from optikit.core.packing import Held, Wish, simulate_packing, usage_of
from optikit.pools import POOLS
from optikit.pools.base import Resources
from optikit.runners import RUNNERS
from optikit.runners.base import Launch

NODES = (8, 8)
DEGREES, SHARES = (1, 2, 4, 8), (0.5, 0.3, 0.13, 0.07)
STARTUP = 1 / 3
"""Of a trial's median duration; each varies by itself."""
STARTUP_SD, MEASURING_SD, EXPECTED_SD = 0.2, 0.5, 0.3
TRIALS, MEDIAN_S = 100, 60.0
QUICK_TRIALS, QUICK_MEDIAN_S = 30, 6.0
VIRTUAL = ((8, 30), (16, 100), (64, 600), (512, 4000))
VIRTUAL_SEEDS, QUICK_SEEDS = 20, 4
RUNNER_OF = {"pools": "packed", "ray_tune": "ray_tune"}
BAR = "reserved >= 0.95 until the last trial is launched (talk: 0.88)"
_EVERY_S = 0.25


@dataclass(frozen=True)
class Trial:
    """Seconds of one; what is expected is their sum, off by a factor."""

    name: str
    devices: int
    startup_s: float
    measuring_s: float
    expected_s: float

    @property
    def own_s(self) -> float:
        return self.startup_s + self.measuring_s


@dataclass(frozen=True)
class Answer:
    """When a trial's actor began its work, on the machine's clock, and what it did."""

    began: float
    startup_s: float
    measuring_s: float
    teardown_s: float = 0.0


def sleep_through(startup_s: float, measuring_s: float) -> Answer:
    """A trial."""
    began = time.time()
    time.sleep(startup_s + measuring_s)
    return Answer(began, startup_s, measuring_s)


def drawn(count: int, median_s: float, seed: int) -> list[Trial]:
    """Trials in the order in which a search asks for them."""
    chance = np.random.default_rng(seed)
    found = []
    for number in range(count):
        startup = STARTUP * median_s * chance.lognormal(0, STARTUP_SD)
        measuring = (1 - STARTUP) * median_s * chance.lognormal(0, MEASURING_SD)
        found.append(
            Trial(
                name=f"t{number:03d}",
                devices=int(chance.choice(DEGREES, p=SHARES)),
                startup_s=float(startup),
                measuring_s=float(measuring),
                expected_s=float((startup + measuring) * chance.lognormal(0, EXPECTED_SD)),
            )
        )
    return found


@dataclass
class Listed:
    """A search that gives the trials in order."""

    trials: list[Trial]
    folder: Path
    given: int = 0
    last_start: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.given == len(self.trials)

    def next(self, free: int) -> Launch | None:
        if self.finished:
            return None
        trial = self.trials[self.given]
        self.given += 1
        return Launch(
            trial_id=trial.name,
            devices=trial.devices,
            resources=Resources(cpus=trial.devices, gpus=trial.devices),
            expected_s=trial.expected_s,
            task=sleep_through,
            args=(trial.startup_s, trial.measuring_s),
        )

    def start(self, launch: Launch) -> None:
        self.last_start = time.time()

    def done(self, launch: Launch, answer: Any, occupied_s: float) -> None:
        if not isinstance(answer, Answer):
            raise answer
        self.answers[launch.trial_id] = answer


class Sampled:
    """Devices that Ray says are taken, on a step line through the samples."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._taken: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        import ray

        total = sum(NODES)
        while not self._over.wait(_EVERY_S):
            free = ray.available_resources().get("GPU", 0.0)
            self._at.append(time.time())
            self._taken.append(total - free)

    def __enter__(self) -> Sampled:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def device_seconds(self, began: float, until: float) -> float:
        at = np.clip([began, *self._at, until], began, until)
        return float(np.sum(np.diff(at)[1:] * self._taken) + (at[1] - at[0]) * self._taken[0])


@contextmanager
def pretended() -> Iterator[None]:
    """A Ray of two nodes on this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    sizes = [{"num_gpus": gpus, "num_cpus": gpus, "include_dashboard": False} for gpus in NODES]
    cluster = Cluster(
        initialize_head=True,
        connect=False,
        # no idle workers: each would cost 2 s of CPU
        head_node_args={**sizes[0], "_system_config": {"prestart_worker_first_driver": False}},
    )
    try:
        for size in sizes[1:]:
            cluster.add_node(**size)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def measured(name: str, trials: list[Trial]) -> dict[str, Any]:
    """One runner on the trials."""
    with tempfile.TemporaryDirectory() as folder, POOLS.load("ray").open("bench") as pool:
        search = Listed(trials, Path(folder) / "search")
        with Sampled() as sampled:
            began = time.time()
            RUNNERS.load(RUNNER_OF[name]).run(search, pool, devices_by_node(), lambda: 1e9)
            ended = time.time()
    assert sorted(search.answers) == [trial.name for trial in trials], "a trial is missing"
    total = sum(NODES)
    last = max(search.last_start, began + 1e-3)
    end = max(a.began + a.startup_s + a.measuring_s for a in search.answers.values())

    def measuring(until: float) -> float:
        spans = [(search.answers[t.name], t.devices) for t in trials]
        used = sum(
            d * max(0.0, min(a.began + a.startup_s + a.measuring_s, until) - a.began - a.startup_s)
            for a, d in spans
        )
        return used / (total * (until - began))

    own = sum(trial.own_s * trial.devices for trial in trials)
    taken = sampled.device_seconds(began, ended)
    return {
        "runner": name,
        "reserved": sampled.device_seconds(began, last) / (total * (last - began)),
        "measuring": measuring(last),
        "overhead_s": (taken - own) / sum(trial.devices for trial in trials),
        "reserved_whole": sampled.device_seconds(began, end) / (total * (end - began)),
        "measuring_whole": measuring(end),
        "wall_s": end - began,
    }


def each_alone(names: list[str], count: int, median_s: float) -> list[dict[str, Any]]:
    """Every runner in a process of its own, at the same time."""
    sizes = ["--trials", str(count), "--median", str(median_s)]
    running = [
        Popen([sys.executable, __file__, "--only", name, *sizes], stdout=PIPE, text=True)
        for name in names
    ]
    said = [process.communicate()[0] for process in running]
    assert all(process.returncode == 0 for process in running), "a runner failed, see above"
    found = [json.loads(text.splitlines()[-1]) for text in said]
    return [{"runner": n, **summary[n]} for n, summary in zip(names, found, strict=True)]


def virtual(devices: int, count: int, seeds: int) -> dict[str, Any]:
    """The policy alone: an actor costs nothing."""
    rows = []
    for seed in range(seeds):
        trials = drawn(count, MEDIAN_S, seed)
        wishes = [(Wish(t.name, t.devices, t.expected_s), t.own_s) for t in trials]
        seconds = {t.name: t for t in trials}
        held = [
            Held(h.devices, h.began_s, h.ended_s, seconds[key].measuring_s, seconds[key].own_s)
            for key, _, h in simulate_packing(wishes, (8,) * (devices // 8))
        ]
        rows.append(usage_of(devices, held, 0.0, max(h.ended_s for h in held)))
    return {
        "gpus": devices,
        "trials": count,
        "reserved": float(np.mean([u.reserved_until_last_launch for u in rows])),
        "lowest": min(u.reserved_until_last_launch for u in rows),
        "reserved_whole": float(np.mean([u.reserved for u in rows])),
        "measuring_whole": float(np.mean([u.measuring for u in rows])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter trials")
    parser.add_argument("--trials", type=int, default=None)
    parser.add_argument("--median", type=float, default=None, help="seconds of a trial")
    parser.add_argument("--only", choices=tuple(RUNNER_OF), default=None)
    parser.add_argument("--virtual", action="store_true", help="virtual time alone")
    args = parser.parse_args()
    count = args.trials or (QUICK_TRIALS if args.quick else TRIALS)
    median_s = args.median or (QUICK_MEDIAN_S if args.quick else MEDIAN_S)
    began = time.monotonic()
    paper = []
    if args.only is None:
        seeds = QUICK_SEEDS if args.quick else VIRTUAL_SEEDS
        print(f"The policy in virtual time, nodes of 8, {seeds} seeds")
        paper = [virtual(*size, seeds) for size in VIRTUAL]
        report(paper, tuple(paper[0]))
        same = virtual(sum(NODES), count, seeds=1)
        print(f"of them the very trials that run below (seed 0): {same['reserved']:.3f}")
    rows: list[dict[str, Any]] = []
    names = [] if args.virtual else [n for n in RUNNER_OF if args.only in (None, n)]
    if names:
        quick = " (quick: the overhead of an actor weighs more than in a real trial)"
        print(
            f"\n{count} trials of median {median_s:g} s, {STARTUP:.0%} of it start-up, on "
            f"{sum(NODES)} pretended GPUs of {len(NODES)} nodes{quick if args.quick else ''}; "
            f"{where()}"
        )
        if args.quick or args.only:
            trials = drawn(count, median_s, seed=0)
            with pretended():
                for name in names:
                    measured(name, drawn(2, 0.1, seed=1))  # Ray's first actor is slow
                    rows.append(measured(name, trials))
        else:
            rows = each_alone(names, count, median_s)
        report(rows, tuple(rows[0]))
        print(BAR)
    summary = {
        "benchmark": "utilisation",
        "quick": args.quick,
        "trials": count,
        "median_s": median_s,
        "startup_share": STARTUP,
        **{row["runner"]: {k: v for k, v in row.items() if k != "runner"} for row in rows},
        "virtual": {row["gpus"]: row for row in paper},
        "wall_s": round(time.monotonic() - began, 1),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
