"""The talk's table on real parts: SmolLM2-135M on real vLLM on this machine, four corners.

    python benchmarks/four_corners.py [--quick] [--only latency|throughput]

One whole job a workload through `optikit submit` (`make setup` brings the parts): a latency
workload under a p95 bound and a throughput workload without an SLO, 8 tuning trials a variant.
Requests are so short, and a search is, that a machine without AVX-512, whose servers start in 24 s
and answer a few requests a second, is done within 70 minutes. The gains come from the last
comparison: the default and the best configuration of each variant, measured again on fresh servers,
interleaved, with 95 % intervals. Let nothing else run beside it: other load makes the client late,
and a probe whose client is late is void.
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

from benchmarks._jobs import CORNERS, corner_text, submitted
from benchmarks._workloads import where

ROOT = Path(__file__).resolve().parent.parent
TRIALS, QUICK_TRIALS = 8, 1
WORKLOADS: dict[str, dict[str, Any]] = {
    "latency": {
        "workload": {"prompt_tokens": 8, "output_tokens": 2},
        "slo": ["p95(e2e) <= 1 s"],
    },
    "throughput": {
        "workload": {"prompt_tokens": 16, "output_tokens": 4},
        "slo": [],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_TRIALS} trial a variant, one finalist run"
    )
    parser.add_argument("--only", choices=tuple(WORKLOADS))
    parser.add_argument("--home", type=Path, help="keep the jobs here")
    args = parser.parse_args()
    trials = QUICK_TRIALS if args.quick else TRIALS
    print(f"SmolLM2-135M, int_w8a8_rtn, vLLM on CPU, {trials} trials a variant; {where()}")
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="optikit-corners-") as scratch:
        home = args.home or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        for name, work in WORKLOADS.items():
            if args.only not in (None, name):
                continue
            spec = {
                "flow": "quantize_and_tune",
                "model": {
                    "name": "smollm2-135m",
                    "uri": f"file://{ROOT / '.cache' / 'models' / 'smollm2-135m'}",
                },
                "flow_params": {
                    "recipe": "int_w8a8_rtn",
                    "num_trials": trials,
                    "ablation": True,
                },
                "compute": {"sku": "CPU_2"},
                **work,
                "tuner": {"finalists": 1, "finalist_runs": 1 if args.quick else 3},
                "method": {
                    "name": "doubling",
                    "requests_per_probe": 50,
                    "rate_tolerance": 0.1,
                    "max_search_s": 30 if args.quick else 45,
                },
                "quality": {"limit": 16, "baseline_runs": 1, "divergence_documents": 0},
            }
            began = time.monotonic()
            facts = submitted(home, spec, name)
            took = time.monotonic() - began
            rows[name] = {
                "corners": facts["corners"],
                "finalists": facts["finalists"],
                "wall_s": round(took),
            }
            print(f"\n{name}: {', '.join(work['slo']) or 'no SLO'}, {work['workload']}")
            for corner, words in CORNERS.items():
                print(f"  {words:<12} {corner_text(facts['corners'][corner])} req/s and device")
            print(f"  {facts['trials']} trials, {took / 60:.1f} min")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
