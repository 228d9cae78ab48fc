"""The cases of ``tuner_regret.py``: spaces, their exhaustive truth, and predictors that are wrong
by hidden factors. All on simulated devices."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks._workloads import CASES, Case
from optikit.core.expected import answer, log_excess
from optikit.core.fit import element_bytes, fit, weight_bytes
from optikit.core.load import plan_load
from optikit.core.predict import Predictor
from optikit.core.simulate import SimulatedServer
from optikit.core.space import Point, PointKey, Space, key_of, why_not
from optikit.core.steptimes import LINK_BYTES_PER_S, LINK_LATENCY_S, StepTimes, roofline
from optikit.recipes import RECIPES
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import ResourceSKU, SkuFacts
from optikit.spec.space import Dimension
from optikit.stores.shapes import shipped_shape

TRUTHS = Path(__file__).with_name("tuner_truths.json")
TRUTH_REQUESTS, _TRUTH_SEED, _STEP_NOISE = 20_000, 70_001, 0.03
_NEAR = 1.003
"""The true rate is known to within this factor."""
START_S, LOAD_BYTES_PER_S = 60.0, 2e9
"""As the simulated engine's start-up: 60 s, and one device's weights at 2 GB/s."""
MOST_FACTOR = 1.5

DIMENSIONS = (
    Dimension(name="tensor_parallel", values=(1, 2, 4, 8), log=True),
    Dimension(name="max_num_seqs", values=(16, 32, 64, 128, 256, 512), log=True),
    Dimension(
        name="max_num_batched_tokens",
        values=(512, 1024, 2048, 4096, 8192, 16384, 32768),
        log=True,
    ),
)
NAMES = tuple(dimension.name for dimension in DIMENSIONS)


class Facts(NamedTuple):
    """What is true of one configuration."""

    rate_rps: float
    margin: float
    ttft_ms: float
    tpot_ms: float
    e2e_ms: float


@dataclass(frozen=True)
class TunerCase:
    """A workload of the talk with one precision on one kind of device."""

    work: Case
    recipe_name: str | None
    sku_name: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what was derived from it, which does not pickle."""
        return TunerCase, (self.work, self.recipe_name, self.sku_name)

    @property
    def name(self) -> str:
        return f"{self.work.name} {'fp8' if self.recipe_name else 'bf16'} {self.sku_name[:4]}"

    @cached_property
    def shape(self) -> ModelShape:
        found = shipped_shape(self.work.model)
        assert found is not None
        return found

    @cached_property
    def recipe(self) -> RecipeFacts | None:
        return RECIPES.load(self.recipe_name).facts if self.recipe_name else None

    @cached_property
    def sku(self) -> SkuFacts:
        return ResourceSKU(self.sku_name).facts

    @cached_property
    def space(self) -> Space:
        shape, recipe, sku = self.shape, self.recipe, self.sku
        default = self.work.serving.model_copy(update={"tensor_parallel": 1})
        return Space(DIMENSIONS, lambda serving: why_not(shape, recipe, sku, serving), default)

    def start_s(self, serving: ServingConfig) -> float:
        weights = weight_bytes(self.shape, self.recipe, element_bytes(serving.dtype))
        return START_S + weights / serving.tensor_parallel / LOAD_BYTES_PER_S

    def predictor(self, factors: Factors | None = None) -> Predictor:
        """The prior, its step times off by the factors."""
        times: Callable[[ServingConfig], StepTimes] | None = None
        if factors is not None:
            wrong = factors
            times = lambda serving: wrong.roofline(  # noqa: E731
                self.shape, self.recipe, self.sku, serving
            )
        return Predictor(
            self.shape,
            self.recipe,
            self.sku,
            self.work.profile,
            self.work.objectives,
            self.space,
            start_s=self.start_s,
            step_times=times,
        )


TUNER_CASES = tuple(
    TunerCase(work, recipe, sku)
    for sku in ("H100_8", "H200_8")
    for work in CASES[:4]
    for recipe in (None, "fp8_dynamic")
)


@dataclass(frozen=True)
class Factors:
    """What each term of a step takes in the prior over what it takes in truth."""

    compute: float
    bandwidth: float
    attention: float
    constant: float
    all_reduce: float

    @classmethod
    def drawn(cls, seed: int) -> Factors:
        """Each between 1 / 1.5 and 1.5, evenly in the logarithm."""
        chance = np.random.default_rng([seed, 4])
        logs = chance.uniform(-1, 1, size=5) * math.log(MOST_FACTOR)
        return cls(*np.exp(logs).tolist())

    def roofline(
        self,
        shape: ModelShape,
        recipe: RecipeFacts | None,
        sku: SkuFacts,
        serving: ServingConfig,
    ) -> StepTimes:
        slower = sku.model_copy(
            update={
                "bandwidth_bytes_per_s": sku.bandwidth_bytes_per_s / self.bandwidth,
                "flops_per_s": {k: v / self.compute for k, v in sku.flops_per_s.items()},
            }
        )
        times = roofline(shape, recipe, slower, serving)
        linear, tp = times.linear_s, serving.tensor_parallel
        if tp > 1:  # as in core/steptimes.py
            moved = 2.0 * (tp - 1) / tp * np.arange(len(linear)) * shape.hidden * 2
            latency = LINK_LATENCY_S[sku.kind] * np.log2(2 * tp)
            reduce_s = 2 * shape.layers * (moved / LINK_BYTES_PER_S[sku.kind] + latency)
            linear = linear + (self.all_reduce - 1) * reduce_s
        return replace(
            times,
            linear_s=linear,
            attention_s=times.attention_s * self.attention / self.compute,
            step_s=times.step_s * self.constant,
            seq_s=times.seq_s * self.constant,
        )


# ---- truth


def truth(job: tuple[TunerCase, Point]) -> Facts:
    """One configuration over 20,000 requests a rate, with the noise of steps."""
    case, point = job
    serving = case.space.serving(point)
    server = SimulatedServer(
        times=roofline(case.shape, case.recipe, case.sku, serving),
        max_num_seqs=serving.max_num_seqs,
        max_num_batched_tokens=serving.max_num_batched_tokens,
        kv_tokens=fit(case.shape, case.recipe, case.sku, serving).kv_tokens,
        noise=_STEP_NOISE,
    )
    profile, slo = case.work.profile, case.work.objectives
    first = answer(server, profile, slo)

    def saturated() -> float:
        load = plan_load(profile, None, TRUTH_REQUESTS, _TRUTH_SEED)
        ends = np.sort(server.run(load, concurrency=2 * serving.max_num_seqs).timings.end_s)
        low, high = TRUTH_REQUESTS // 4, 3 * TRUTH_REQUESTS // 4
        return float((high - low) / (ends[high] - ends[low]))

    def holds(rate: float) -> bool:
        fill = TRUTH_REQUESTS // 10
        load = plan_load(profile, rate, TRUTH_REQUESTS, _TRUTH_SEED, before=fill, after=fill)
        limit_s = 2 * len(load) / rate
        return log_excess(server.run(load, timeout_s=limit_s).timings, slo) <= 0

    rate, most = 0.0, saturated()
    if not slo.bounds:
        rate = most
    elif first.lone_excess <= 0:
        low = high = min(max(first.rate_rps(), most / 1000), most)
        while low > most / 2000 and not holds(low):
            low, high = low / 1.05, low
        while high < most and holds(high):
            low, high = high, min(high * 1.05, most)
        while high / low > _NEAR:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if holds(middle) else (low, middle)
        rate = low if low > most / 2000 else 0.0
    margin = min(-first.lone_excess, 99.0)
    found = (rate, margin, first.ttft_ms, first.tpot_ms, first.e2e_ms)
    return Facts(*(float(f"{figure:.5g}") for figure in found))


def write_truths(each: Callable[[Callable[[Any], Any], list[Any]], list[Any]]) -> None:
    """Derive the table anew."""
    jobs = [(case, point) for case in TUNER_CASES for point in case.space.points()]
    table: dict[str, list[list[Any]]] = {}
    for (case, point), facts in zip(jobs, each(truth, jobs), strict=True):
        table.setdefault(case.name, []).append([*(point[name] for name in NAMES), *facts])
    lines = []
    for name, rows in table.items():
        text = ",\n".join(json.dumps(row) for row in rows)
        lines.append(f"{json.dumps(name)}: [\n{text}\n]")
    TRUTHS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def truths() -> dict[str, dict[PointKey, Facts]]:
    """The committed table: case, point, facts."""
    table = json.loads(TRUTHS.read_text())
    n = len(NAMES)
    return {
        case: {
            key_of(dict(zip(NAMES, map(int, row[:n]), strict=True))): Facts(*row[n:])
            for row in rows
        }
        for case, rows in table.items()
    }
