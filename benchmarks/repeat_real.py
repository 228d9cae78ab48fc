"""Does a certified rate repeat on a real engine? Ten certifications and ten verifications.

    python benchmarks/repeat_real.py [--quick] [--runs N]

One serving config of SmolLM2-135M on real vLLM on this machine's CPU (`make setup` brings both).
Every certification and every verification runs on a fresh server with fresh seeds. The spread of
the rate, and how many verifications say that the rate of their certification holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np

from benchmarks._workloads import report, where
from optikit.adapters.hardware import cpu_dtype
from optikit.core.rate import rate_search, verification
from optikit.core.search import RateSearch
from optikit.engines.vllm import ENGINE
from optikit.loadgen.find_rate import find_rate
from optikit.loadgen.openai import GENERATOR
from optikit.spec.job import MethodChoice
from optikit.spec.record import RateResult
from optikit.spec.serving import ServingConfig
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload
from optikit.stores.shapes import shape_of_folder

MODEL = Path(__file__).resolve().parent.parent / ".cache" / "models" / "smollm2-135m"
WORKLOAD = Workload.parse({"prompt_tokens": 32, "output_tokens": 2})
SLO = Slo.parse(["p95(e2e) <= 300 ms"])
METHOD = MethodChoice(max_search_s=240)
SERVING = ServingConfig(
    max_num_seqs=32,
    max_num_batched_tokens=2048,
    max_model_len=64,
    dtype=cpu_dtype(),
    enforce_eager=True,
)
RUNS, QUICK_RUNS = 10, 2


def measured(search: RateSearch, logs: Path, what: str) -> tuple[RateResult, float]:
    """The search's answer on a fresh server, and its seconds."""
    vocab = shape_of_folder(MODEL).vocab
    with ENGINE.serve(
        MODEL, SERVING, "cpu", vocab=vocab, log=logs / f"{what}.log", what=what
    ) as server:
        began = time.monotonic()
        found = find_rate(
            search,
            GENERATOR,
            server.endpoint,
            WORKLOAD,
            SLO,
            METHOD,
            on_probe=lambda probe, timings: None,
            check=server.check,
            remaining_s=lambda: METHOD.max_search_s,
        )
        return found, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs")
    parser.add_argument("--runs", type=int, default=None)
    args = parser.parse_args()
    runs = args.runs or (QUICK_RUNS if args.quick else RUNS)
    if not MODEL.is_dir():
        sys.exit(f"{MODEL} is missing: run `make setup` first")
    began, rows = time.monotonic(), []
    seats = SERVING.max_num_seqs
    with tempfile.TemporaryDirectory() as logs:
        for run in range(runs):
            row: dict[str, Any] = {"run": run + 1}
            search = rate_search(METHOD, WORKLOAD, SLO, seed=run, max_num_seqs=seats)
            found, seconds = measured(search, Path(logs), f"certification {run + 1}")
            row |= {"outcome": found.outcome, "rate_rps": found.rate_rps}
            row |= {"low": found.rate_low_rps, "high": found.rate_high_rps}
            row |= {"certified": not found.preliminary, "requests": found.requests}
            row["seconds"] = seconds
            if found.rate_rps is not None:
                again = verification(
                    METHOD, WORKLOAD, SLO, found.rate_rps, seed=1000 + run, max_num_seqs=seats
                )
                verified, row["verify_s"] = measured(again, Path(logs), f"verification {run + 1}")
                words = {"pass": "holds", "infeasible": "broken"}
                row["verify"] = words.get(verified.outcome, "inconclusive")
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    rates = np.array([row["rate_rps"] for row in rows if row["rate_rps"] is not None])
    print(f"SmolLM2-135M on vLLM {ENGINE.version()} (CPU, {SERVING.dtype}); {where()}")
    print(f"workload {WORKLOAD}; SLO {SLO}; {SERVING.max_num_seqs} seats")
    columns = ("run", "outcome", "certified", "rate_rps", "low", "high", "requests", "seconds")
    report(rows, (*columns, "verify", "verify_s"))
    verdicts = [row.get("verify") for row in rows]
    summary = {
        "benchmark": "repeat_real",
        "simulated": False,
        "runs": runs,
        "mean_rps": float(rates.mean()) if len(rates) else None,
        "cv": float(rates.std(ddof=1) / rates.mean()) if len(rates) > 1 else None,
        "certified": sum(bool(row["certified"]) for row in rows),
        "holds": verdicts.count("holds"),
        "broken": verdicts.count("broken"),
        "inconclusive": verdicts.count("inconclusive"),
        "wall_s": round(time.monotonic() - began, 1),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
