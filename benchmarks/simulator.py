"""How many requests a second does the simulated engine serve, on one core?

    python benchmarks/simulator.py [--quick]

Each workload at nine tenths of its true capacity and with every seat taken; compiled, and (fewer
requests) as the plain Python that runs where numba is not installed. Planning the load counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

from benchmarks._workloads import CASES, Case, report, truths, where
from optikit.core import _batching, simulate
from optikit.core.load import plan_load
from optikit.loadgen.simulated import server_of

REQUESTS, QUICK_REQUESTS, PLAIN_REQUESTS, REPEATS = 200_000, 50_000, 2_000, 3


def speed(case: Case, requests: int, rate_rps: float | None) -> float:
    """Simulated requests per second of real time; the best of a few."""
    server, seats = server_of(case.replica()), 2 * case.serving.max_num_seqs
    best = 0.0
    for repeat in range(REPEATS):
        began = time.perf_counter()
        load = plan_load(case.profile, rate_rps, requests, repeat)
        server.run(load, concurrency=None if rate_rps else seats)
        best = max(best, requests / (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REQUESTS} requests")
    args = parser.parse_args()
    requests = QUICK_REQUESTS if args.quick else REQUESTS
    known = truths()
    speed(CASES[0], 10, 1.0)  # compiles
    rows: list[dict[str, Any]] = []
    for case in CASES:
        rate = 0.9 * known[case.name]
        row: dict[str, Any] = {"workload": case.name}
        row["open loop"] = round(speed(case, requests, rate))
        row["saturated"] = round(speed(case, requests, None))
        with mock.patch.object(simulate, "_compiled", return_value=_batching.run):
            row["plain Python"] = round(speed(case, PLAIN_REQUESTS, rate))
        rows.append(row)
    print(f"Simulated requests per second on one core, {requests} requests; {where()}")
    columns = ("open loop", "saturated", "plain Python")
    report(rows, ("workload", *columns))
    summary = {
        "benchmark": "simulator",
        "simulated": True,
        "requests": requests,
        "workloads": {row["workload"]: {key: row[key] for key in columns} for row in rows},
        "slowest": min(min(row["open loop"], row["saturated"]) for row in rows),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
