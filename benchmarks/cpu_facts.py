"""Memory bandwidth and fp32 matrix speed of this machine: the figures behind the CPU SKU.

Claim: ``spec/sku.py``'s CPU_2 constants are what two cores of the reference machine sustain.
Bandwidth is STREAM's triad ``a = b + s * c`` on arrays far beyond the caches, 24 bytes an element
(McCalpin, STREAM: two reads and one write; the write's own fetch is not counted). It runs in
blocks that stay in the cache between numpy's two passes, so that main memory sees one. FLOP/s is
a square fp32 product, 2 n^3 operations. Both are the best of several runs.

    .venv/bin/python benchmarks/cpu_facts.py [--quick]

The last line is one JSON object: bandwidth_bytes_per_s, fp32_flops_per_s, cores, cpu.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# A forced kernel choice would measure the choice, not the machine; read when numpy is loaded.
os.environ.pop("OPENBLAS_CORETYPE", None)

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BLOCK = 16_384
"""Elements a block: three arrays of 128 KiB stay in a core's second-level cache."""


def best_s(work: Callable[[], None], repeats: int) -> float:
    """Shortest wall time of ``repeats`` runs, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def triad(a: Floats, b: Floats, c: Floats, begin: int, end: int) -> None:
    """``a = b + 3 c`` for the elements from ``begin`` to ``end``."""
    for start in range(begin, end, BLOCK):
        part = slice(start, min(start + BLOCK, end))
        np.multiply(c[part], 3.0, out=a[part])
        np.add(a[part], b[part], out=a[part])


def bandwidth_bytes_per_s(elements: int, threads: int, repeats: int) -> float:
    """Triad bandwidth with ``threads`` threads (numpy lets go of the interpreter's lock)."""
    a, b, c = np.zeros(elements), np.ones(elements), np.full(elements, 2.0)
    bounds = np.linspace(0, elements, threads + 1, dtype=int).tolist()
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            parts = [pool.submit(triad, a, b, c, *bounds[i : i + 2]) for i in range(threads)]
            for part in parts:
                part.result()

        seconds = best_s(run, repeats)
    if not np.all(a == 7.0):
        raise SystemExit("the triad gave a wrong sum: do not trust this machine's figures")
    return 24.0 * elements / seconds


def fp32_flops_per_s(n: int, repeats: int) -> float:
    """Speed of an n x n fp32 product with as many threads as the BLAS takes."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((n, n), dtype=np.float32) for _ in range(2))
    out = np.empty((n, n), dtype=np.float32)

    def product() -> None:
        np.matmul(left, right, out=out)

    return 2.0 * n**3 / best_s(product, repeats)


def cpu_name() -> str:
    """The processor's name as Linux gives it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller arrays, fewer runs")
    quick = parser.parse_args().quick
    elements, n, repeats = (8_000_000, 1024, 3) if quick else (40_000_000, 4096, 7)
    cores = len(os.sched_getaffinity(0))
    bandwidth = 0.0
    for threads in sorted({1, min(2, cores)}):
        found = bandwidth_bytes_per_s(elements, threads, repeats)
        print(
            f"triad, {threads} thread(s), {3 * 8 * elements / 1e6:.0f} MB: {found / 1e9:.1f} GB/s"
        )
        bandwidth = max(bandwidth, found)
    flops = fp32_flops_per_s(n, repeats)
    print(f"fp32 product, n = {n}: {flops / 1e9:.1f} GFLOP/s")
    print(
        json.dumps(
            {
                "bandwidth_bytes_per_s": round(bandwidth),
                "fp32_flops_per_s": round(flops),
                "cores": cores,
                "cpu": cpu_name(),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
