"""How often is a rate accepted, at 0.7 to 1.5 of the true capacity? In virtual time.

    python benchmarks/steady_state.py [--quick] [--seeds N]

Ours: the verdict of a verification (what ``optikit verify`` runs: warm-up, closed loop, up to four
probes with fresh seeds): pass, inconclusive or fail. Beside it the talk's rule (OLS slope <= 1.05
and percentiles by point estimate) on one probe of 300 and of 1000 requests, and percentiles with
GuideLLM's over-saturation rule on one of 1000. At and below 1.0 a rate should be accepted, above
not.
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

from benchmarks._oversaturation import oversaturated
from benchmarks._workloads import CASES, Case, each, report, truths, where
from optikit.core.load import plan_load
from optikit.core.metrics import measure
from optikit.core.rate import verification
from optikit.core.verdict import judge_open
from optikit.loadgen.find_rate import find_rate
from optikit.loadgen.simulated import SimulatedGenerator, server_of
from optikit.spec.job import MethodChoice

FACTORS = (0.7, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.2, 1.5)
QUICK_FACTORS = (0.8, 0.95, 1.05, 1.2)
SEEDS, QUICK_SEEDS = 100, 6
RULES = ("adjusted", "talk N=300", "talk N=1000", "over-saturation N=1000")
_LIMIT_S = 1e9


@dataclass(frozen=True)
class Task:
    case: Case
    rule: str
    factor: float
    rate_rps: float
    seed: int


def verdict(task: Task) -> str:
    """pass, fail or inconclusive."""
    if task.rule == "adjusted":
        return _verified(task)
    case, requests = task.case, int(task.rule.split("=")[1])
    load = plan_load(case.profile, task.rate_rps, requests, task.seed)
    timings = server_of(case.replica(task.seed)).run(load, seed=task.seed).timings
    measured = measure(timings, case.objectives, task.rate_rps)
    if task.rule.startswith("over"):
        if oversaturated(timings):
            return "fail"
        flat = {"slope": 1.0, "slope_low": 1.0, "slope_high": 1.0}
        measured = measured.model_copy(update=flat)
    return judge_open(case.objectives, measured, MethodChoice()).verdict


def _verified(task: Task) -> str:
    case, method = task.case, MethodChoice(max_search_s=_LIMIT_S)
    search = verification(
        method,
        case.profile,
        case.objectives,
        task.rate_rps,
        seed=task.seed + 10_000,
        max_num_seqs=case.serving.max_num_seqs,
    )
    found = find_rate(
        search,
        SimulatedGenerator(),
        case.endpoint(task.seed),
        case.profile,
        case.objectives,
        method,
        on_probe=lambda probe, timings: None,
        check=lambda: None,
        remaining_s=lambda: _LIMIT_S,
    )
    return {"pass": "pass", "infeasible": "fail"}.get(found.outcome, "inconclusive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds, 4 rates")
    parser.add_argument("--seeds", type=int, default=None)
    args = parser.parse_args()
    began = time.monotonic()
    seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    factors = QUICK_FACTORS if args.quick else FACTORS
    known = truths()
    tasks = [
        Task(case, rule, factor, factor * known[case.name], seed)
        for case in CASES
        for rule in RULES
        for factor in factors
        for seed in range(seeds)
    ]
    verdicts = each(verdict, tasks)
    rows: list[dict[str, Any]] = []
    for case in CASES:
        for rule in RULES:
            row: dict[str, Any] = {"workload": case.name, "rule": rule}
            for factor in factors:
                seen = [
                    v
                    for t, v in zip(tasks, verdicts, strict=True)
                    if (t.case.name, t.rule, t.factor) == (case.name, rule, factor)
                ]
                row[f"{factor:g}"] = float(np.mean([v == "pass" for v in seen]))
                row[f"{factor:g} undecided"] = float(np.mean([v == "inconclusive" for v in seen]))
            rows.append(row)
    print(f"Share of rates accepted, by rate over true capacity, simulated H100s; {where()}")
    report(rows, ("workload", "rule", *(f"{factor:g}" for factor in factors)))
    over = [f"{factor:g}" for factor in factors if factor > 1]
    wrong = {
        rule: float(np.mean([row[key] for row in rows if row["rule"] == rule for key in over]))
        for rule in RULES
    }
    print("accepted above capacity, over all workloads: " + json.dumps(wrong))
    summary = {
        "benchmark": "steady_state",
        "simulated": True,
        "seeds": seeds,
        "workloads": {
            name: {
                row["rule"]: {key: row[key] for key in row if key not in ("workload", "rule")}
                for row in rows
                if row["workload"] == name
            }
            for name in [case.name for case in CASES]
        },
        "accepted_above_capacity": wrong,
        "wall_s": round(time.monotonic() - began, 1),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
