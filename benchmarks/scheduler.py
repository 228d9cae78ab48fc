"""Teams that share a cluster: is it full, is it shared by weight, does anybody wait for ever?

    python benchmarks/scheduler.py [--quick] [--seed N]

VIRTUAL TIME: 512 pretended GPUs (64 nodes of 8: A100, H100 and H200), 20 teams of weight 1 or 2,
core/fairshare.py. A job has four stages that hold GPUs, one after the other; those of different
jobs interleave. *Backlog*: 1,000 jobs are there at the start; over a day, while every team has jobs
left, each team's GPU-hours of a kind against its weight. *Arrivals*: the same jobs come over a day,
and one team submits a third of all at once in its first hour; waits by weight. Beside it strict
first come first served, and first come first served that lets later stages pass (no weights, no
reservation), as a queue in front of Ray's jobs would do. *Growth*: ten times the jobs, seconds a
decision.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np

from benchmarks._workloads import report, where
from optikit.core.fairshare import FairShare, Start
from optikit.spec.queue import Need, Node, Team

HOUR_S, DAY_S = 3_600.0, 86_400.0
NODES = {"A100": 16, "H100": 32, "H200": 16}
GPUS = 8 * sum(NODES.values())
WEIGHTS = {f"team-{i:02}": float(1 + i % 2) for i in range(20)}
JOBS, QUICK_JOBS = 1_000, 200
SIZES, SIZE_SHARES = (1, 2, 4, 8), (0.2, 0.2, 0.25, 0.35)
STAGES = (("compress", 0.5), ("evaluate", 0.3), ("benchmark", 0.5), ("tune", 3.0))
"""Median hours of each stage; all but the first hold the SKU's devices."""
SPREAD, MISJUDGED = 0.5, 0.3
"""Of the logarithm of the hours, and of what is expected over what is."""
BACKLOG_HOURS = 1.6
"""Work of the backlog over what the cluster does in a day, so that nobody runs dry in it."""
BARS = "share within 5 % of the weight; nobody starved"


@dataclass(frozen=True)
class Job:
    name: str
    team: str
    kind: str
    devices: int
    at_s: float
    hours: tuple[float, ...]
    expected: tuple[float, ...]
    """What ``plan`` would say of the hours, wrong by a lognormal factor."""

    def need(self, stage: int) -> Need:
        lasts = HOUR_S * self.hours[stage]
        return Need(
            key=f"{self.name}/{STAGES[stage][0]}",
            team=self.team,
            kind=self.kind,
            devices=1 if stage == 0 else self.devices,
            since_s=self.at_s,
            expected_s=HOUR_S * self.expected[stage],
            bound_s=2 * lasts,  # a job's budget is known, how long it takes is not
        )

    @property
    def gpu_hours(self) -> float:
        return sum(
            hours * (1 if stage == 0 else self.devices) for stage, hours in enumerate(self.hours)
        )


class Queue(Protocol):
    def submit(self, need: Need) -> None: ...

    def end(self, key: str, now_s: float) -> None: ...

    def next(self, now_s: float) -> Start | None: ...


@dataclass
class FirstCome:
    """Oldest job first, over all teams; ``passes``: later ones start where it does not fit."""

    passes: bool
    free: dict[str, list[int]] = field(
        default_factory=lambda: {kind: [8] * count for kind, count in NODES.items()}
    )
    waiting: dict[str, list[tuple[float, int, Need]]] = field(
        default_factory=lambda: {kind: [] for kind in NODES}
    )
    running: dict[str, tuple[Need, int]] = field(default_factory=dict)
    count: int = 0

    def submit(self, need: Need) -> None:
        self.count += 1
        heapq.heappush(self.waiting[need.kind], (need.since_s, self.count, need))

    def end(self, key: str, now_s: float) -> None:
        need, node = self.running.pop(key)
        self.free[need.kind][node] += need.devices

    def next(self, now_s: float) -> Start | None:
        for kind, line in self.waiting.items():
            free = self.free[kind]
            for row in sorted(line) if self.passes and max(free) else line[:1]:
                need = row[2]
                fits = [(f, n) for n, f in enumerate(free) if f >= need.devices]
                if fits:
                    node = min(fits)[1]
                    line.remove(row)
                    heapq.heapify(line)
                    free[node] -= need.devices
                    self.running[need.key] = need, node
                    return Start(need.key, f"{kind}-{node}")
        return None


def nodes() -> list[Node]:
    return [
        Node(name=f"{kind}-{i}", kind=kind, devices=8)
        for kind, count in NODES.items()
        for i in range(count)
    ]


def jobs(count: int, seed: int, spread_s: float, flood: str | None = None) -> list[Job]:
    """Work by weight and by nodes: each goes to the team and kind that has least of its share."""
    chance = np.random.default_rng(seed)
    given = {(team, kind): 0.0 for team in WEIGHTS for kind in NODES}
    found = []
    for number in range(count):
        floods = flood is not None and number % 3 == 0
        pairs = [pair for pair in given if not floods or pair[0] == flood]
        team, kind = min(pairs, key=lambda p: given[p] / WEIGHTS[p[0]] / NODES[p[1]])
        hours = tuple(m * float(np.exp(chance.normal(0, SPREAD))) for _, m in STAGES)
        job = Job(
            name=f"job-{number:05}",
            team=team,
            kind=kind,
            devices=int(chance.choice(SIZES, p=SIZE_SHARES)),
            at_s=float(chance.uniform(0, HOUR_S if floods else spread_s)) if spread_s else 0.0,
            hours=hours,
            expected=tuple(h * float(np.exp(chance.normal(0, MISJUDGED))) for h in hours),
        )
        given[team, kind] += 0.0 if floods else job.gpu_hours
        found.append(job)
    return found


@dataclass
class Played:
    """What came of it; times in seconds."""

    held: list[tuple[str, str, int, float, float]]
    """Team, kind, devices, start, end."""
    waited: dict[str, list[float]]
    """By team: from a stage's submission to its start."""
    finished: int
    decisions: int
    cpu_s: float
    """Spent in the queue's own code."""


def play(work: list[Job], queue: Queue, until_s: float = float("inf")) -> Played:
    """The queue in virtual time."""
    of_key = {f"{job.name}/{name}": (job, i) for job in work for i, (name, _) in enumerate(STAGES)}
    events: list[tuple[float, int, str, str]] = []
    for number, job in enumerate(work):
        heapq.heappush(events, (job.at_s, number, "submit", f"{job.name}/{STAGES[0][0]}"))
    since: dict[str, float] = {}
    played = Played([], defaultdict(list), 0, 0, 0.0)
    number = len(work)
    while events and events[0][0] <= until_s:
        now = events[0][0]
        began = time.perf_counter()
        while events and events[0][0] == now:
            _, _, what, key = heapq.heappop(events)
            job, stage = of_key[key]
            if what == "end":
                queue.end(key, now)
                stage += 1
                if stage == len(STAGES):
                    played.finished += 1
                    continue
            need = job.need(stage)
            since[need.key] = now
            queue.submit(need)
        while (start := queue.next(now)) is not None:
            job, stage = of_key[start.key]
            need, lasts = job.need(stage), HOUR_S * job.hours[stage]
            number += 1
            played.decisions += 1
            played.waited[job.team].append(now - since[start.key])
            played.held.append((job.team, job.kind, need.devices, now, now + lasts))
            heapq.heappush(events, (now + lasts, number, "end", start.key))
        played.cpu_s += time.perf_counter() - began
    return played


def used(played: Played, until_s: float) -> dict[tuple[str, str], float]:
    """GPU-seconds by team and kind."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for team, kind, devices, start, end in played.held:
        found[team, kind] += devices * max(0.0, min(end, until_s) - start)
    return found


def shares(played: Played, until_s: float) -> dict[str, Any]:
    """How full the cluster was, and how far each team's share was from its weight."""
    found = used(played, until_s)
    whole = sum(found.values())
    total = sum(WEIGHTS.values())
    of_team = {team: sum(found[team, kind] for kind in NODES) / whole for team in WEIGHTS}
    errors = [abs(of_team[team] / (weight / total) - 1) for team, weight in WEIGHTS.items()]
    return {
        "utilization": whole / (GPUS * until_s),
        "share_error": max(errors),
        "mean_share_error": float(np.mean(errors)),
    }


def waits(played: Played, flood: str) -> dict[str, Any]:
    """Hours that stages waited, of the other teams and of the one that submits so much."""
    others = [w for team, row in played.waited.items() if team != flood for w in row]
    return {
        "wait_p50_h": float(np.median(others)) / HOUR_S,
        "wait_p95_h": float(np.percentile(others, 95)) / HOUR_S,
        "longest_h": max(others) / HOUR_S,
        "flood_p50_h": float(np.median(played.waited[flood])) / HOUR_S,
        "flood_longest_h": max(played.waited[flood]) / HOUR_S,
    }


def queues(horizon_s: float = HOUR_S) -> dict[str, Queue]:
    teams = [Team(name=name, weight=weight) for name, weight in WEIGHTS.items()]
    return {
        "fair share": FairShare(nodes(), teams, horizon_s=horizon_s),
        "first come, strict": FirstCome(passes=False),
        "first come, passing": FirstCome(passes=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_JOBS} jobs, no growth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--horizon-h", type=float, default=1.0, help="of FairShare")
    args = parser.parse_args()
    began = time.monotonic()
    count = QUICK_JOBS if args.quick else JOBS
    horizon_s = args.horizon_h * HOUR_S
    print(f"VIRTUAL TIME, {GPUS} pretended GPUs, {len(WEIGHTS)} teams, {count} jobs; {where()}")
    work = jobs(count, args.seed, 0.0)
    day_s = sum(job.gpu_hours for job in work) / GPUS / BACKLOG_HOURS * HOUR_S
    rows, summary = [], {}
    for name, queue in queues(horizon_s).items():
        played = play(work, queue, day_s)
        row = {"queue": name, "hours": day_s / HOUR_S, **shares(played, day_s)}
        row["decisions_per_s"] = played.decisions / played.cpu_s
        rows.append(row)
        summary[name] = {k: v for k, v in row.items() if k != "queue"}
    print("\nbacklog: every team has jobs left")
    report(rows, tuple(rows[0]))

    flood = "team-00"
    work, rows = jobs(count, args.seed + 1, day_s, flood), []
    for name, queue in queues(horizon_s).items():
        played = play(work, queue)
        row = {"queue": name, **waits(played, flood), "starved": len(work) - played.finished}
        rows.append(row)
        summary[name] |= {k: v for k, v in row.items() if k != "queue"}
    print(f"\narrivals: {flood}, weight 1, submits a third of all jobs in the first hour")
    report(rows, tuple(rows[0]))

    growth = None
    if not args.quick:
        few, many = (
            play(jobs(n, args.seed, 0.0), queues(horizon_s)["fair share"])
            for n in (count, 10 * count)
        )
        growth = (many.cpu_s / many.decisions) / (few.cpu_s / few.decisions)
        print(f"\n10x the jobs: {growth:.2f} times the seconds a decision")
    print(f"bars, {BARS}")
    fair = summary["fair share"]
    print(
        json.dumps(
            {
                "benchmark": "scheduler",
                "virtual_time": True,
                "quick": args.quick,
                **{k: fair[k] for k in ("utilization", "share_error", "starved", "longest_h")},
                "decisions_per_s": fair["decisions_per_s"],
                "cost_a_decision_at_10x": growth,
                "queues": summary,
                "wall_s": round(time.monotonic() - began, 1),
                "where": where(),
            }
        )
    )


if __name__ == "__main__":
    main()
