"""Does the certified rate hold? Every search method against the true capacity, in virtual time.

    python benchmarks/rate_search.py [--quick] [--seeds N] [--truth]

For each workload and seed a whole search runs on the simulated engine (the code that runs on real
servers: loadgen/find_rate.py). Certified / true, how often it is above 1, and the virtual time;
beside the default method the talk's rule with 300 and 1000 requests a probe and doubling with
GuideLLM's over-saturation rule. ``--truth`` derives truths.json anew (200,000 requests a rate).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np

from benchmarks._oversaturation import OverSaturationSearch
from benchmarks._workloads import CASES, TRUTHS, Case, each, report, truth, truths, where
from optikit.core.rate import rate_search
from optikit.core.search import Question, RateSearch
from optikit.loadgen.find_rate import find_rate
from optikit.loadgen.simulated import SimulatedGenerator
from optikit.spec.job import MethodChoice

SEEDS, QUICK_SEEDS = 200, 6
METHODS = ("adjusted", "talk N=300", "talk N=1000", "over-saturation N=1000")
BARS = "above <= 0.05 over all and 0.07 in any; mean >= 0.90; CV <= 0.05; time <= 1/3 of N=1000"
_LIMIT_S = 1e9  # no search ends for its time here


@dataclass(frozen=True)
class Task:
    case: Case
    method: str
    seed: int


def search_of(task: Task) -> tuple[RateSearch, MethodChoice]:
    """The search that a task names."""
    case, seats = task.case, task.case.serving.max_num_seqs
    if task.method == "adjusted":
        method = MethodChoice(max_search_s=_LIMIT_S)
        search = rate_search(
            method, case.profile, case.objectives, seed=task.seed, max_num_seqs=seats
        )
        return search, method
    requests = int(task.method.split("=")[1])
    method = MethodChoice(
        name="doubling", requests_per_probe=requests, max_search_s=_LIMIT_S, max_probes=40
    )
    question = Question(method, case.profile, case.objectives, seed=task.seed)
    if task.method.startswith("over"):
        return OverSaturationSearch(question), method
    return rate_search(method, case.profile, case.objectives, seed=task.seed), method


def run(task: Task) -> dict[str, Any]:
    """One search; its rate (None: none found), virtual seconds, requests."""
    generator = SimulatedGenerator()
    search, method = search_of(task)
    found = find_rate(
        search,
        generator,
        task.case.endpoint(task.seed),
        task.case.profile,
        task.case.objectives,
        method,
        on_probe=lambda probe, timings: None,
        check=lambda: None,
        remaining_s=lambda: _LIMIT_S,
    )
    return {"rate": found.rate_rps, "virtual_s": generator.clock(), "requests": found.requests}


def summarize(results: list[dict[str, Any]], capacity: float) -> dict[str, Any]:
    """One method on one workload."""
    ratios = np.array([r["rate"] / capacity for r in results if r["rate"] is not None])
    return {
        "seeds": len(results),
        "no rate": len(results) - len(ratios),
        "above_capacity": float(np.mean(ratios > 1)) if len(ratios) else None,
        "mean_ratio": float(ratios.mean()) if len(ratios) else None,
        "cv": float(ratios.std() / ratios.mean()) if len(ratios) else None,
        "max_ratio": float(ratios.max()) if len(ratios) else None,
        "virtual_s": float(np.mean([r["virtual_s"] for r in results])),
        "requests": float(np.mean([r["requests"] for r in results])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--truth", action="store_true", help="derive truths.json anew and stop")
    parser.add_argument("--only", default="", help="workloads, separated by commas")
    parser.add_argument("--methods", default="", help="methods, separated by commas")
    args = parser.parse_args()
    if args.truth:
        table = dict(zip([c.name for c in CASES], each(truth, CASES), strict=True))
        TRUTHS.write_text(json.dumps(table, indent=2) + "\n")
        print(json.dumps(table))
        return
    began = time.monotonic()
    seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    known = truths()
    cases = [c for c in CASES if not args.only or c.name in args.only.split(",")]
    methods = [m for m in METHODS if not args.methods or m in args.methods.split(",")]
    tasks = [Task(c, m, s) for c in cases for m in methods for s in range(seeds)]
    found = dict(zip(tasks_of(tasks), each(run, tasks), strict=True))
    rows: list[dict[str, Any]] = []
    for case in cases:
        for method in methods:
            results = [found[case.name, method, seed] for seed in range(seeds)]
            named = {"workload": case.name, "method": method}
            rows.append(named | summarize(results, known[case.name]))
    talk = {r["workload"]: r["virtual_s"] for r in rows if r["method"] == "talk N=1000"}
    for row in rows:
        against = talk.get(row["workload"])
        row["time_vs_talk"] = row["virtual_s"] / against if against else None
    print(f"Certified rate over true capacity, simulated H100s; {where()}")
    report(
        rows,
        (
            *("workload", "method", "seeds", "no rate", "above_capacity", "mean_ratio", "cv"),
            *("max_ratio", "virtual_s", "time_vs_talk", "requests"),
        ),
    )
    ours = [row for row in rows if row["method"] == "adjusted"]
    above = float(np.mean([row["above_capacity"] for row in ours])) if ours else float("nan")
    print(f"default method above capacity over all workloads: {above:.3f} ({BARS})")
    keys = ("above_capacity", "mean_ratio", "cv", "time_vs_talk")
    summary = {
        "benchmark": "rate_search",
        "simulated": True,
        "seeds": seeds,
        "above_capacity": above,
        "workloads": {row["workload"]: {key: row[key] for key in keys} for row in ours},
        "others": {
            f"{row['workload']} / {row['method']}": {key: row[key] for key in keys}
            for row in rows
            if row["method"] != "adjusted"
        },
        "wall_s": round(time.monotonic() - began, 1),
        "where": where(),
    }
    print(json.dumps(summary))


def tasks_of(tasks: list[Task]) -> list[tuple[str, str, int]]:
    """What tells tasks apart."""
    return [(task.case.name, task.method, task.seed) for task in tasks]


if __name__ == "__main__":
    main()
