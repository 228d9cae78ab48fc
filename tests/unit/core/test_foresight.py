"""What a tuning stage is expected to find: predicted from the plan alone."""

from __future__ import annotations

import pytest

from optikit.core.foresight import foresee, predictor_of, space_of
from optikit.core.plan import make_plan
from optikit.flows import FLOWS
from optikit.recipes import RECIPES
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.recipe import EngineFacts
from optikit.stores.shapes import shipped_shape

ENGINE = EngineFacts(
    name="simulated",
    serves={"gpu": ("none", "FP8_DYNAMIC", "W8A8"), "cpu": ("none", "W8A8")},
    simulated=True,
)


def plan(**changes: object) -> Plan:
    job = OptimizationJob.parse(
        {
            "flow": "quantize_and_tune",
            "model": {"name": "qwen-2.5-7b"},
            "flow_params": {"recipe": "fp8_dynamic", "num_trials": 4, "ablation": True},
            "compute": {"sku": "H100_4"},
            "workload": {"prompt_tokens": 1200, "output_tokens": 80},
            "slo": ["p95(e2e) <= 500 ms"],
            "tuner": {"finalists": 1, "finalist_runs": 2},
            **changes,
        }
    )
    flow = FLOWS.load(job.flow)
    shape = shipped_shape(job.model.name)
    assert shape is not None
    recipes = (
        [RECIPES.load(name).facts for name in job.flow_params.recipe] if flow.compresses else []
    )
    return make_plan(job, flow, shape, ENGINE, recipes)


def test_the_best_is_named_for_each_variant_with_its_gain() -> None:
    ahead = foresee(plan())
    baseline, compressed = ahead.variants
    assert (baseline.variant, compressed.variant) == ("baseline", "compressed")
    assert baseline.gain is None, "at TP 1 and 16 bit the talk's workload misses its SLO too"
    assert compressed.gain is not None
    assert compressed.gain > 1.2
    for one in ahead.variants:
        rates = [row.rate_per_device for row in one.best]
        assert rates == sorted(rates, reverse=True)
        assert rates[0] > one.default_per_device
    assert compressed.best[0].rate_per_device > baseline.best[0].rate_per_device
    assert "datasheet" in ahead.source


def test_the_cost_counts_trials_and_finalists_of_both_variants() -> None:
    ahead = foresee(plan())
    assert ahead.trials == 2 * (4 + 2 * (1 + 1))
    assert ahead.device_hours > ahead.trials * 120 / 3600, "a start alone takes two minutes"
    alone = foresee(
        plan(flow_params={"recipe": "fp8_dynamic", "num_trials": 4}, tuner={"finalists": 0})
    )
    assert alone.trials == 4
    assert alone.device_hours < ahead.device_hours / 2


def test_replicas_multiply_the_rate_and_not_the_rate_per_device() -> None:
    made = plan(
        flow_params={
            "recipe": "fp8_dynamic",
            "space": {"data_parallel": [1, 2], "tensor_parallel": [2]},
        }
    )
    space = space_of(made, "compressed")
    prior = predictor_of(made, "compressed", space)
    one = {"tensor_parallel": 2, "data_parallel": 1, "max_num_seqs": 64}
    one = {**one, "max_num_batched_tokens": 8192}
    single, double = prior.predict(one), prior.predict({**one, "data_parallel": 2})
    assert double.rate_rps == pytest.approx(2 * single.rate_rps)
    assert double.rate_per_device == pytest.approx(single.rate_per_device)


def test_an_unknown_speed_is_taken_for_that_of_the_models_own_dtype() -> None:
    made = plan()
    slow = {name: flops for name, flops in made.sku.flops_per_s.items() if name != "fp8"}
    unknown = made.model_copy(update={"sku": made.sku.model_copy(update={"flops_per_s": slow})})
    known, other = foresee(made).variants[1], foresee(unknown).variants[1]
    assert 0 < other.best[0].rate_per_device < known.best[0].rate_per_device
