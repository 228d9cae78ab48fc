"""A first job: what fits, what is predicted to be fast, and that every value says why."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.core.foresight import predictor_of, space_of
from optikit.core.suggest import (
    KNEE,
    LONGEST_H,
    QUICK_TRIALS,
    Known,
    Suggestion,
    suggest,
)
from optikit.engines.simulated import ENGINE as SIMULATED
from optikit.engines.vllm import ENGINE as VLLM
from optikit.errors import BadInput, DoesNotFit, SpecError
from optikit.flows import FLOWS
from optikit.recipes import RECIPES
from optikit.spec.job import DatasetStorage, ModelStorage
from optikit.spec.sku import ResourceSKU
from optikit.spec.slo import Slo
from optikit.stores.shapes import shipped_shape

H100 = "NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15"
A100 = "NVIDIA A100-SXM4-80GB, 81920 MiB, 550.54.15"
DATA = DatasetStorage(path="/data")


def of(name: str, real: bool = True, **known: Any) -> Suggestion:
    shape = shipped_shape(name)
    assert shape is not None
    engine = VLLM if real else SIMULATED
    return suggest(
        Known(
            **{
                "model": ModelStorage(name=name),
                "shape": shape,
                "engine": engine.facts,
                "engine_version": "0.32.0" if real else None,
                "recipes": [RECIPES.load(recipe).facts for recipe in RECIPES.names()],
                "flows": {flow: FLOWS.load(flow) for flow in ("quantize_and_tune", "tune")},
                **known,
            }
        )
    )


def recipe(suggestion: Suggestion) -> str:
    return suggestion.job.flow_params.recipe[0]


def test_without_a_gpu_a_small_model_stays_on_the_cpu_with_short_requests() -> None:
    found = of("smollm2-135m")
    assert found.job.compute.sku is ResourceSKU.CPU_2
    assert recipe(found) == "int_w8a8_rtn", "the one that calibrates needs text, fp8 is emulated"
    assert found.job.workload.prompt_tokens.high < 512
    assert found.job.workload.prompt_tokens.high == 4 * found.job.workload.output_tokens.high
    assert "--dataset" in found.why["recipe"]
    assert found.ahead.device_hours <= LONGEST_H


def test_without_a_gpu_a_large_model_is_sent_elsewhere() -> None:
    found = of("qwen-2.5-7b")
    assert found.job.compute.sku is ResourceSKU.L40S_1
    assert "no GPU" in found.why["sku"]
    assert "CPU_2" in found.why["sku"]
    assert found.job.workload.prompt_tokens.high == 512


def test_calibration_text_brings_the_recipe_that_uses_it() -> None:
    assert recipe(of("smollm2-135m", dataset=DATA)) == "int_w8a8"
    assert recipe(of("qwen-2.5-7b", gpus=(A100,), dataset=DATA)) == "int_w8a8"
    assert recipe(of("qwen-2.5-7b", gpus=(A100,))) == "int_w8a8_rtn", "no fp8 arithmetic there"
    assert recipe(of("qwen-2.5-7b", gpus=(H100,))) == "fp8_dynamic"


def test_a_small_dataset_is_calibrated_on_as_a_whole() -> None:
    few = of("smollm2-135m", dataset=DATA, dataset_rows=40)
    assert few.job.flow_params.calibration_samples == 40
    assert "256" in few.why["calibration_samples"]
    many = of("smollm2-135m", dataset=DATA, dataset_rows=4000)
    assert many.job.flow_params.calibration_samples is None
    assert "calibration_samples" not in many.why


def test_the_four_corners_are_measured_where_they_cost_nothing() -> None:
    assert of("qwen-2.5-7b", real=False).job.flow_params.ablation
    assert not of("qwen-2.5-7b").job.flow_params.ablation


def test_what_may_cost_quality_is_never_suggested() -> None:
    for name in ("qwen-2.5-7b", "mistral-small-3-24b"):
        facts = RECIPES.load(recipe(of(name, gpus=(H100,), dataset=DATA))).facts
        assert facts.block_bytes_per_parameter >= 1
        assert facts.kv_dtype == "own"


def test_the_smallest_sku_of_this_machine_that_holds_the_model() -> None:
    found = of("llama-70b", gpus=(H100,) * 8)
    assert found.job.compute.sku is ResourceSKU.H100_2
    assert found.plan.baseline_serving is not None
    assert "131 GiB" in found.why["sku"]
    too_few = of("llama-70b", gpus=(H100,))
    assert too_few.job.compute.sku is ResourceSKU.H100_2
    assert "cluster" in too_few.why["sku"]


def held(suggestion: Suggestion, *bounds: str) -> float:
    """Predicted rate of the default configuration under other bounds."""
    slo = Slo.parse(list(bounds))
    plan = suggestion.plan.model_copy(
        update={"job": suggestion.job.model_copy(update={"slo": slo})}
    )
    space = space_of(plan, "compressed")
    return predictor_of(plan, "compressed", space).predict(space.point_of(space.default)).rate_rps


def test_the_slo_leaves_room_for_a_load_and_no_more_than_needed() -> None:
    found = of("qwen-2.5-7b", real=False)
    (bound,) = found.job.slo.bounds
    assert str(bound) == "p95(e2e) <= 3000 ms"
    assert held(found, str(bound)) >= KNEE * held(found)
    assert held(found, "p95(e2e) <= 2000 ms") < KNEE * held(found)
    assert f"{held(found, str(bound)):.3g} requests/s" in found.why["slo"]
    assert "PREDICTED" in found.why["slo"]


def test_the_users_words_are_kept() -> None:
    found = of("qwen-2.5-7b", real=False, sku=ResourceSKU.H200_4, prompt_tokens=3000)
    assert found.job.compute.sku is ResourceSKU.H200_4
    assert (found.job.workload.prompt_tokens.high, found.job.workload.output_tokens.high) == (
        3000,
        128,
    )
    on_cpu = of("smollm2-135m", output_tokens=300)
    assert on_cpu.job.workload.output_tokens.high == 300, "not halved: somebody asked for it"


def test_a_slow_search_asks_fewer_trials() -> None:
    quick, slow = of("smollm2-135m"), of("smollm2-135m", prompt_tokens=512, output_tokens=256)
    assert slow.job.flow_params.num_trials < quick.job.flow_params.num_trials
    assert slow.ahead.trials == slow.plan.trials + 2 * 3


def test_on_paper_a_long_search_gets_its_virtual_time() -> None:
    found = of("llama-70b", real=False, prompt_tokens=5000, output_tokens=500)
    assert found.job.method.max_search_s == 86_400
    assert "max_search_s" in found.why
    assert "max_search_s" not in of("qwen-2.5-7b", real=False).why


def test_without_any_recipe_the_model_is_tuned_as_it_is() -> None:
    found = of("smollm2-135m", real=False, sku=ResourceSKU.CPU_2)
    assert found.job.flow == "tune"
    assert "no 8-bit recipe" in found.why["recipe"]


def test_a_short_context_shortens_the_request() -> None:
    shape = shipped_shape("smollm2-135m")
    assert shape is not None
    found = of("smollm2-135m", shape=shape.model_copy(update={"max_context": 200}))
    work = found.job.workload
    assert work.prompt_tokens.high + work.output_tokens.high <= 200


@pytest.mark.parametrize(
    ("known", "error", "word"),
    [
        ({"sku": ResourceSKU.L40S_1}, DoesNotFit, "L40S_1"),
        ({"prompt_tokens": 9000}, DoesNotFit, "context of 8192"),
        ({"prompt_tokens": 0}, SpecError, "prompt_tokens"),
    ],
)
def test_what_cannot_be(known: dict[str, Any], error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        of("llama-70b", real=False, **known)


def test_a_model_that_no_sku_holds() -> None:
    shape = shipped_shape("llama-70b")
    assert shape is not None
    with pytest.raises(DoesNotFit, match=r"no SKU holds llama-70b.*H200_8"):
        of("llama-70b", real=False, shape=shape.model_copy(update={"layers": 2000}))


def test_a_quick_first_try_is_short_and_says_what_it_is_worth() -> None:
    usual, quick = of("smollm2-135m"), of("smollm2-135m", quick=True)
    assert quick.plan.estimate_s < usual.plan.estimate_s / 10
    assert quick.job.flow_params.num_trials == QUICK_TRIALS
    assert quick.job.method.name == "doubling"
    assert (quick.job.method.requests_per_probe or 300) < 300, "fewer are preliminary"
    assert quick.job.quality.limit is not None
    assert quick.job.workload.prompt_tokens.high <= usual.job.workload.prompt_tokens.high
    assert "preliminary" in quick.why["quick"]
    assert recipe(quick) == recipe(usual)
    assert "quick" not in usual.why


def test_on_paper_there_is_nothing_to_shorten() -> None:
    with pytest.raises(BadInput, match="--quick"):
        of("qwen-2.5-7b", real=False, quick=True)
