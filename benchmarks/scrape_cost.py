"""Does reading the engine's metrics during a probe disturb what is measured?

    python benchmarks/scrape_cost.py [--pairs N] [--seconds S] [--rate R]

One real vLLM server on this machine's CPU with a tiny model, so that many requests a second pass
through its API server, which also answers /metrics. The same load with and without the scrape, one
after the other in alternating order; ratios are of the two runs of a pair. Beside them what one
read costs this process in CPU time, which other work on the machine hardly changes: its loop cannot
be later by more than that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np

from benchmarks._workloads import report, where
from optikit.adapters.scrape import EVERY_S, Scraper
from optikit.core.evidence import values_ms
from optikit.core.load import plan_load
from optikit.core.metrics import lag_ms
from optikit.engines.vllm import ENGINE
from optikit.loadgen.openai import GENERATOR
from optikit.spec.endpoint import Endpoint
from optikit.spec.serving import ServingConfig
from optikit.spec.workload import Workload
from optikit.stages._scrape import Scraped
from optikit.stores.shapes import shape_of_folder
from tests.models import tiny_llama

ROOT = Path(__file__).resolve().parent.parent
WORKLOAD = Workload.parse({"prompt_tokens": 32, "output_tokens": 8})
SERVING = ServingConfig(max_num_seqs=64, max_model_len=64, dtype="float32", enforce_eager=True)
CLOSED = 16
FIGURES = ("lag_p99_ms", "e2e_p50_ms", "e2e_p95_ms", "closed_rps")


@dataclass
class Run:
    """One run of the open loop and one of the closed."""

    lag_p99_ms: float
    e2e_p50_ms: float
    e2e_p95_ms: float
    closed_rps: float
    scrapes: int


def once(endpoint: Endpoint, scraped: bool, rate: float, seconds: float, seed: int) -> Run:
    """The figures of one side of a pair, and how often it was scraped."""
    if not scraped:
        endpoint = endpoint.model_copy(update={"metrics_url": None})
    generator = Scraped(GENERATOR, endpoint)
    seen = generator.run(endpoint, plan_load(WORKLOAD, rate, int(rate * seconds), seed))
    generator.keep(1)
    closed = generator.run(
        endpoint, plan_load(WORKLOAD, None, int(rate * seconds), seed), concurrency=CLOSED
    )
    generator.keep(2)
    for timings in (seen, closed):  # a random model has answers without any text
        if timings.ok.mean() < 0.95:
            sys.exit(f"requests failed: {next(iter(timings.errors.values()), 'open')}")
    e2e = values_ms(seen, "e2e")[seen.ok]
    with tempfile.TemporaryDirectory() as folder:
        kept = generator.write(Path(folder))
    return Run(
        lag_p99_ms=float(np.percentile(lag_ms(seen), 99)),
        e2e_p50_ms=float(np.percentile(e2e, 50)),
        e2e_p95_ms=float(np.percentile(e2e, 95)),
        closed_rps=int(closed.ok.sum()) / float(closed.end_s[closed.ok].max()),
        scrapes=kept.scrapes if kept else 0,
    )


def reads(endpoint: Endpoint, count: int = 50) -> tuple[float, float]:
    """Of one read of an idle server: milliseconds of CPU and of wall time, medians."""
    scraper = Scraper(str(endpoint.metrics_url), endpoint.api_key)
    cpu, wall = [], []
    for _ in range(count):
        began = time.thread_time()
        raw = scraper.read("before")
        cpu.append(time.thread_time() - began)
        if raw is None or raw.error is not None:
            sys.exit(f"no metrics: {raw}")
        wall.append(raw.took_s)
    return 1e3 * float(np.median(cpu)), 1e3 * float(np.median(wall))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second, open loop")
    args = parser.parse_args()
    model, rows = tiny_llama(ROOT / ".cache" / "models" / "tiny-llama"), []
    vocab = shape_of_folder(model).vocab
    with (
        tempfile.TemporaryDirectory() as logs,
        ENGINE.serve(model, SERVING, "cpu", vocab=vocab, log=Path(logs) / "engine.log") as server,
    ):
        once(server.endpoint, True, args.rate, 5.0, 0)  # warms everything up
        read_cpu_ms, read_ms = reads(server.endpoint)
        for pair in range(args.pairs):
            found = {}
            for scraped in (True, False) if pair % 2 else (False, True):
                seed = 1 + pair
                found[scraped] = once(server.endpoint, scraped, args.rate, args.seconds, seed)
            row = {"pair": pair + 1, "scrapes": found[True].scrapes}
            for name in FIGURES:
                row[name] = getattr(found[False], name)
                row[f"{name}, scraped"] = getattr(found[True], name)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    ratios = {n: [row[f"{n}, scraped"] / row[n] for row in rows] for n in FIGURES}
    print(f"tiny Llama on vLLM {ENGINE.version()} (CPU); {where()}")
    print(f"workload {WORKLOAD}; {args.rate:g} req/s for {args.seconds:g} s, every {EVERY_S:g} s")
    report(rows, tuple(rows[0]))
    summary = {
        "benchmark": "scrape_cost",
        "simulated": False,
        "pairs": args.pairs,
        "median_ratio": {name: round(float(np.median(r)), 3) for name, r in ratios.items()},
        "spread": {
            name: [round(float(q), 3) for q in np.percentile(r, [25, 75])]
            for name, r in ratios.items()
        },
        "read_cpu_ms": round(read_cpu_ms, 3),
        "read_ms": round(read_ms, 2),
        "lag_p99_ms_more": round(
            float(np.median([r["lag_p99_ms, scraped"] - r["lag_p99_ms"] for r in rows])), 3
        ),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
