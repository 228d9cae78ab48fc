"""The talk's four workloads and two of our own, on simulated H100s, with their true capacity."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from optikit.core.evidence import excess
from optikit.core.load import plan_load
from optikit.loadgen.simulated import server_of
from optikit.recipes import RECIPES
from optikit.spec.endpoint import Endpoint
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import SimulatedReplica
from optikit.spec.sku import ResourceSKU
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload
from optikit.stores.shapes import shipped_shape

TRUTHS = Path(__file__).with_name("truths.json")
TRUTH_REQUESTS = 200_000
_TRUTH_SEED = 90_001
_FILL = 8_000

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Case:
    """One workload on one serving config."""

    name: str
    model: str
    recipe: str | None
    tensor_parallel: int
    workload: dict[str, Any]
    slo: list[str] = field(default_factory=list)

    @property
    def profile(self) -> Workload:
        return Workload.parse(self.workload)

    @property
    def objectives(self) -> Slo:
        return Slo.parse(self.slo)

    @property
    def serving(self) -> ServingConfig:
        """vLLM's defaults on an H100, context as the talk sets it: 1.15 (in + out)."""
        return ServingConfig(
            tensor_parallel=self.tensor_parallel,
            max_model_len=int(1.15 * self.profile.total_tokens),
        )

    def replica(self, seed: int = 0) -> SimulatedReplica:
        shape = shipped_shape(self.model)
        assert shape is not None
        recipe = RECIPES.load(self.recipe).facts if self.recipe else None
        sku = ResourceSKU.H100_8.facts
        return SimulatedReplica(
            shape=shape, recipe=recipe, sku=sku, serving=self.serving, seed=seed
        )

    def endpoint(self, seed: int = 0) -> Endpoint:
        return Endpoint(
            base_url="http://simulated.invalid",
            model=self.model,
            vocab=32_000,
            simulated=self.replica(seed),
        )


CASES = (
    Case(
        "llama-throughput",
        "llama-3-70b",
        None,
        4,
        {"prompt_tokens": 5000, "output_tokens": 500},
    ),
    Case(
        "qwen-e2e",
        "qwen-2.5-7b",
        "fp8_dynamic",
        1,
        {"prompt_tokens": 1200, "output_tokens": 80},
        ["p95(e2e) <= 500 ms"],
    ),
    Case(
        "mistral-e2e",
        "mistral-small-3-24b",
        "fp8_dynamic",
        4,
        {"prompt_tokens": 3000, "output_tokens": 200, "prefix_tokens": 2000},
        ["p95(e2e) <= 1500 ms"],
    ),
    Case(
        "mistral-ttft-tpot",
        "mistral-small-3-24b",
        "fp8_dynamic",
        4,
        {"prompt_tokens": 1500, "output_tokens": 1500, "prefix_tokens": 1000},
        ["p50(ttft) <= 50 ms", "p50(tpot) <= 10 ms"],
    ),
    Case(
        "chat",
        "qwen-2.5-7b",
        "fp8_dynamic",
        1,
        {
            "prompt_tokens": {"distribution": "lognormal", "mean": 600, "std": 500, "high": 4000},
            "output_tokens": {"distribution": "lognormal", "mean": 200, "std": 150, "high": 1000},
        },
        ["p95(ttft) <= 100 ms", "p95(tpot) <= 15 ms"],
    ),
    Case(
        "rag-bursty",
        "mistral-small-3-24b",
        "fp8_dynamic",
        2,
        {
            "prompt_tokens": {
                "distribution": "normal",
                "mean": 4000,
                "std": 1000,
                "low": 500,
                "high": 8000,
            },
            "output_tokens": {"distribution": "uniform", "low": 50, "high": 400},
            "arrivals": "gamma",
            "burstiness": 0.5,
        },
        ["goodput(ttft <= 1000 ms, tpot <= 40 ms) >= 95 %"],
    ),
)


def saturation_rps(case: Case, requests: int = TRUTH_REQUESTS) -> float:
    """Completions per second with somebody always waiting, over the middle half."""
    load = plan_load(case.profile, None, requests, _TRUTH_SEED)
    seats = 2 * case.serving.max_num_seqs
    ends = np.sort(server_of(case.replica()).run(load, concurrency=seats).timings.end_s)
    first, last = requests // 4, 3 * requests // 4
    return float((last - first) / (ends[last] - ends[first]))


def holds(case: Case, rate_rps: float, requests: int = TRUTH_REQUESTS) -> bool:
    """Whether the long-run shares over the limits are within what the SLO allows."""
    load = plan_load(case.profile, rate_rps, requests, _TRUTH_SEED, before=_FILL, after=_FILL)
    span = (requests + 2 * _FILL) / rate_rps
    run = server_of(case.replica()).run(load, timeout_s=2 * span)
    part = run.timings.measured()
    found = [(bound, excess(part, bound)) for bound in case.objectives.bounds]
    return all(f.over.sum() <= bound.allowed * f.units.sum() for bound, f in found)


def truth(case: Case) -> dict[str, float]:
    """The highest rate that holds, to 0.1 %; without an SLO the saturation throughput."""
    saturated = saturation_rps(case)
    if not case.slo:
        return {"capacity_rps": saturated, "saturation_rps": saturated}
    low, high = saturated / 1000, saturated
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(case, middle) else (low, middle)
    return {"capacity_rps": low, "saturation_rps": saturated}


def truths() -> dict[str, float]:
    """The committed capacities in requests per second."""
    table = json.loads(TRUTHS.read_text())
    return {name: row["capacity_rps"] for name, row in table.items()}


def each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results in order, on every core."""
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(work, items, chunksize=1))


def where() -> str:
    """The machine and the day, for the head of a table."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{day}, {os.cpu_count()} x {model}, Python {platform.python_version()}"


def report(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """A plain table."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(c), *(len(r[i]) for r in cells)) for i, c in enumerate(columns)]
    for line in ([*columns], *cells):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
    sys.stdout.flush()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
