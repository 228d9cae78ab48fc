"""The talk's table on paper: four workloads x four corners on a simulated H100, beside the talk's.

    python benchmarks/paper_table.py [--quick] [--trials N]

Whole jobs through `optikit submit` with the engine ``simulated``: nothing here ran on a GPU. Our
figures are requests per second and device, certified in virtual time by the default method; the
talk's are its "norm. TPS" as read from the slide (Llama's quantized row is int8, the others fp8).
What differs, and why, is printed below the table.
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

TRIALS, QUICK_TRIALS = 12, 3
SKU = "H100_8"
TALK: dict[str, dict[str, Any]] = {
    "Qwen 2.5 7B, 1200/80": {
        "model": "qwen-2.5-7b",
        "recipe": "fp8_dynamic",
        "workload": {"prompt_tokens": 1200, "output_tokens": 80},
        "slo": ["p95(e2e) <= 500 ms"],
        "talk": {"baseline": 3.52, "quantized": 5.96, "tuned": 6.79, "both": 7.50},
    },
    "Mistral Small 24B, 3000/200": {
        "model": "mistral-small-3-24b",
        "recipe": "fp8_dynamic",
        "workload": {"prompt_tokens": 3000, "output_tokens": 200, "prefix_tokens": 2000},
        "slo": ["p95(e2e) <= 1500 ms"],
        "talk": {"baseline": 0.604, "quantized": 1.732, "tuned": 0.937, "both": 1.734},
    },
    "Mistral Small 24B, 1500/1500": {
        "model": "mistral-small-3-24b",
        "recipe": "fp8_dynamic",
        "workload": {"prompt_tokens": 1500, "output_tokens": 1500, "prefix_tokens": 1000},
        "slo": ["p50(ttft) <= 50 ms", "p50(tpot) <= 10 ms"],
        "talk": {"baseline": 0.562, "quantized": 0.562, "tuned": 0.750, "both": 0.875},
    },
    "Llama 3 70B, 5000/500": {
        "model": "llama-70b",
        "recipe": "int_w8a8",
        "workload": {"prompt_tokens": 5000, "output_tokens": 500},
        "slo": [],
        "talk": {"baseline": 0.468, "quantized": 0.593, "tuned": 0.468, "both": 0.585},
    },
}
WHY = """What differs, and why:
- Baseline. Ours is vLLM's default configuration at the smallest tensor-parallel degree that fits;
  the talk's slide marks rows in which that misses the SLO, and then shows a larger degree. Where
  ours misses the SLO there is no gain over it to be shown.
- Step times are a roofline with stated efficiencies (docs/concepts.md), not measured kernels: the
  order of the corners is what it can show, the rates are an order of size.
- Our rates are certified: at most 2.5 % risk of lying above what is sustained. The talk's rule
  accepts rates above capacity (README)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TRIALS} trials a variant")
    parser.add_argument("--trials", type=int, default=None)
    args = parser.parse_args()
    trials = args.trials or (QUICK_TRIALS if args.quick else TRIALS)
    print(f"SIMULATED {SKU}, {trials} trials a variant; {where()}")
    print("requests/s and device; ours | the talk's (gain over the baseline of the same table)")
    began = time.monotonic()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="optikit-paper-") as folder:
        for name, row in TALK.items():
            spec = {
                "flow": "quantize_and_tune",
                "model": {"name": row["model"]},
                "engine": "simulated",
                "flow_params": {
                    "recipe": row["recipe"],
                    "num_trials": trials,
                    "ablation": True,
                },
                "compute": {"sku": SKU},
                "workload": row["workload"],
                "slo": row["slo"],
                "method": {"max_search_s": 86400},
            }
            facts = submitted(Path(folder), spec, row["model"] + str(len(rows)))
            rows[name] = {"ours": facts["corners"], "device_hours": facts["device_hours"]}
            print(f"\n{name} tokens, {', '.join(row['slo']) or 'no SLO'}")
            base = row["talk"]["baseline"]
            for corner, words in CORNERS.items():
                theirs = row["talk"][corner]
                ours = corner_text(facts["corners"][corner])
                print(f"  {words:<12} {ours:<34} | {theirs:.3g} ({theirs / base:.2f}x)")
            print(f"  simulated device-hours of all trials: {facts['device_hours']:.3g}")
    print(f"\n{WHY}\n\n{time.monotonic() - began:.0f} s")
    print(json.dumps({"simulated": True, "rows": rows}))


if __name__ == "__main__":
    main()
