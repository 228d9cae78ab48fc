"""What does adjusting for the arrivals gain? The share over a limit, as seen and adjusted.

    python benchmarks/load_model.py [--quick] [--seeds N]

Probes of 1000 requests at the true capacity of each workload, on the simulated engine: mean and
standard deviation over seeds of the share of requests over the binding limit, as counted and as
adjusted to the law of the load (core/loadmodel.py), and the ratio of the two variances.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np

from benchmarks._workloads import CASES, Case, each, report, truths, where
from optikit.core.evidence import excess
from optikit.core.load import plan_load
from optikit.core.loadmodel import Seen, fit_load_model
from optikit.loadgen.simulated import server_of

SEEDS, QUICK_SEEDS, REQUESTS = 200, 20, 1000
# The bound that binds at capacity: the first, but for these.
BINDING = {"mistral-ttft-tpot": 1, "chat": 1}


@dataclass(frozen=True)
class Task:
    case: Case
    rate_rps: float
    latency_s: float
    seed: int


def shares(task: Task) -> tuple[float, float]:
    """Counted and adjusted."""
    case, flight = task.case, task.rate_rps * task.latency_s
    load = plan_load(
        case.profile,
        task.rate_rps,
        REQUESTS,
        task.seed,
        before=math.ceil(3 * flight),
        after=math.ceil(8 * flight) + 32,
    )
    part = server_of(case.replica(task.seed)).run(load, seed=task.seed).timings.measured()
    bound = case.objectives.bounds[BINDING.get(case.name, 0)]
    found = excess(part, bound)
    model = fit_load_model([Seen(load, found, task.rate_rps)], case.profile, task.latency_s)
    counted = float(found.over.sum() / found.units.sum())
    return counted, model.share(task.rate_rps).value


def latency_s(case: Case, rate_rps: float) -> float:
    """Mean latency at a rate."""
    load = plan_load(case.profile, rate_rps, 20_000, 1, before=2_000, after=4_000)
    part = server_of(case.replica()).run(load).timings.measured()
    return float(np.mean(part.end_s - part.sent_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds")
    parser.add_argument("--seeds", type=int, default=None)
    args = parser.parse_args()
    seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    known, rows = truths(), []
    for case in [case for case in CASES if case.slo]:
        rate = known[case.name]
        latency = latency_s(case, rate)
        found = np.array(each(shares, [Task(case, rate, latency, seed) for seed in range(seeds)]))
        counted, adjusted = found.T
        row: dict[str, Any] = {"workload": case.name, "seeds": seeds}
        row |= {"counted": float(counted.mean()), "counted sd": float(counted.std())}
        row |= {"adjusted": float(adjusted.mean()), "adjusted sd": float(adjusted.std())}
        row["variance ratio"] = float(counted.var() / adjusted.var())
        rows.append(row)
    print(f"Share over the binding limit at true capacity, {REQUESTS} requests; {where()}")
    columns = ("seeds", "counted", "counted sd", "adjusted", "adjusted sd", "variance ratio")
    report(rows, ("workload", *columns))
    summary = {
        "benchmark": "load_model",
        "simulated": True,
        "workloads": {row["workload"]: {key: row[key] for key in columns} for row in rows},
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
