from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.dimensions import context_length
from optikit.core.fit import fit, splits, weight_bytes
from optikit.core.plan import make_plan
from optikit.errors import BadInput, DoesNotFit, SpecError
from optikit.flows import FLOWS
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import ResourceSKU
from optikit.spec.workload import Trace
from tests.specs import ENGINE

LLAMA = ModelShape(
    architecture="LlamaForCausalLM",
    layers=80,
    hidden=8192,
    heads=64,
    kv_heads=8,
    head_dim=128,
    intermediate=28672,
    vocab=128256,
    max_context=8192,
    source="test",
)
SMALL = ModelShape(
    architecture="LlamaForCausalLM",
    layers=30,
    hidden=576,
    heads=9,
    kv_heads=3,
    head_dim=64,
    intermediate=1536,
    vocab=49152,
    max_context=8192,
    tied_embeddings=True,
    source="test",
)
INT8 = RecipeFacts(
    name="int_w8a8",
    summary="int8",
    scheme="W8A8",
    needs_calibration=True,
    default_samples=256,
    block_bytes_per_parameter=1.01,
    compute_dtype="int8",
)


TRACE = Trace(
    source="t.csv",
    arrivals_s=(0.0, 1.0, 2.0),
    prompt_tokens=(6000, 300, 40),
    output_tokens=(10, 20, 3000),
)


def plan(
    shape: ModelShape = LLAMA,
    recipe: RecipeFacts | None = INT8,
    trace: Trace | None = None,
    **spec: object,
) -> Plan:
    job = OptimizationJob.parse(
        {
            "model": {"name": "m"},
            "dataset": {"path": "/data"},
            "compute": {"sku": "H100_8"},
            **spec,
        }
    )
    flow = FLOWS.load(job.flow)
    return make_plan(
        job, flow, shape, ENGINE, [recipe] if recipe and flow.compresses else [], trace=trace
    )


def test_llama_70b_on_h100() -> None:
    resolved = plan()
    assert resolved.tensor_parallel == (1, 2, 4, 8)
    assert resolved.baseline_tensor_parallel == (2, 4, 8)
    assert resolved.baseline_weight_bytes == pytest.approx(141.1e9, rel=0.01)
    assert resolved.weight_bytes == pytest.approx(73.3e9, rel=0.02)
    assert resolved.calibration_samples == 256
    assert resolved.disk_bytes > resolved.weight_bytes + resolved.baseline_weight_bytes


def test_the_small_model_on_the_cpu() -> None:
    resolved = plan(SMALL, compute={"sku": "CPU_2"})
    assert resolved.tensor_parallel == (1,)
    assert resolved.serving.dtype == "float32"
    assert resolved.serving.enforce_eager
    assert weight_bytes(SMALL, None, 4) == pytest.approx(4 * 134.5e6, rel=0.01)


def test_a_model_that_cannot_stand_is_refused_with_the_figures() -> None:
    with pytest.raises(DoesNotFit, match=r"does not fit L40S_1.*TP 1.*GiB"):
        plan(flow="tune", compute={"sku": "L40S_1"})


def test_no_baseline_no_comparison() -> None:
    with pytest.raises(DoesNotFit, match="no baseline to compare with"):
        plan(compute={"sku": "H100_1"})


def test_degrees_that_do_not_divide_the_heads_name_those_that_do() -> None:
    with pytest.raises(DoesNotFit, match=r"asked 2, but 9 attention heads.*work.*\(1,\)"):
        plan(SMALL, compute={"sku": "H100_4"}, flow_params={"space": {"tensor_parallel": [2]}})


def test_a_workload_longer_than_the_context() -> None:
    with pytest.raises(DoesNotFit, match=r"9000 prompt.*context of 8192"):
        plan(workload={"prompt_tokens": 9000})
    random = {"distribution": "lognormal", "mean": 500, "std": 300, "high": 8100}
    with pytest.raises(DoesNotFit, match=r"at most 8100 prompt \+ 128 output = 8228 tokens"):
        plan(workload={"prompt_tokens": random})


def test_the_context_holds_the_longest_request_of_a_distribution() -> None:
    random = {"distribution": "normal", "mean": 500, "std": 300, "high": 4000}
    resolved = plan(workload={"prompt_tokens": random, "output_tokens": 1000})
    assert resolved.serving.max_model_len == 5760  # 1.15 x 5000, up to a multiple of 16
    short = plan(workload={"prompt_tokens": 500, "output_tokens": 1000})
    assert resolved.estimate_s == short.estimate_s  # by the mean, not by the longest


def test_a_trace_is_planned_by_its_longest_request() -> None:
    resolved = plan(workload={"trace": "t.csv"}, trace=TRACE)
    # 6010 tokens, not the longest prompt + the longest output = 9000, which no request has
    assert resolved.serving.max_model_len == 6912
    assert resolved.trace == TRACE
    assert resolved.job.workload.trace == "t.csv"
    assert resolved.job.workload.model_dump()["prompt_tokens"] == 512, "as it was given"
    assert resolved.workload.prompt_tokens.high == 6000
    assert resolved.workload.output_tokens.low == 10
    assert any("t.csv: 3 requests, but a probe needs" in text for text in resolved.warnings)
    assert Plan.model_validate_json(resolved.model_dump_json()) == resolved


def test_a_trace_that_does_not_fit() -> None:
    long = TRACE.model_copy(update={"prompt_tokens": (6000, 300, 5900)})
    long = Trace.model_validate(long.model_dump())
    with pytest.raises(DoesNotFit, match=r"5900 prompt \+ 3000 output \(request 3 of t.csv\)"):
        plan(workload={"trace": "t.csv"}, trace=long)
    with pytest.raises(SpecError, match="prefix_tokens: 40 shared tokens"):
        plan(workload={"trace": "t.csv", "prefix_tokens": 40}, trace=TRACE)


def test_a_trace_and_its_name_come_together() -> None:
    with pytest.raises(SpecError, match=r"names 't.csv' but the plan was given no trace"):
        plan(workload={"trace": "t.csv"})
    with pytest.raises(SpecError, match=r"names None but the plan was given t.csv"):
        plan(trace=TRACE)


def test_contradictions() -> None:
    with pytest.raises(SpecError, match="needs calibration text"):
        plan(dataset=None)
    with pytest.raises(SpecError, match=r"none of its 4 configurations .*tokens of one step"):
        plan(flow_params={"space": {"max_num_seqs": [512], "max_num_batched_tokens": [256]}})
    fp8 = INT8.model_copy(update={"name": "fp8", "scheme": "FP8_DYNAMIC", "compute_dtype": "fp8"})
    with pytest.raises(SpecError, match="no kernel on gpu"):
        plan(recipe=fp8)
    every = ENGINE.model_copy(update={"serves": {"gpu": ("none", "FP8_DYNAMIC")}})
    job = OptimizationJob.parse(
        {"model": {"name": "m"}, "dataset": {"path": "/d"}, "compute": {"sku": "A100_8"}}
    )
    nowhere = fp8.model_copy(update={"not_on": ("A100",)})
    with pytest.raises(SpecError, match="no kernel for FP8_DYNAMIC on A100"):
        make_plan(job, FLOWS.load("quantize"), LLAMA, every, [nowhere])
    unpacked = fp8.model_copy(update={"weight_only_on": ("A100",)})
    found = make_plan(job, FLOWS.load("quantize"), LLAMA, every, [unpacked])
    assert "A100 has no fp8 arithmetic" in found.warnings[0]


def test_more_trials_than_configurations_is_said() -> None:
    resolved = plan(
        flow_params={
            "num_trials": 9,
            "space": {
                "tensor_parallel": [8],
                "max_num_seqs": [64, 128],
                "max_num_batched_tokens": [8192],
            },
        }
    )
    assert resolved.trials == 2
    assert "more than the space holds" in resolved.warnings[0]


shapes = st.builds(
    ModelShape,
    architecture=st.just("x"),
    layers=st.integers(1, 100),
    hidden=st.sampled_from([64, 576, 4096, 8192]),
    heads=st.sampled_from([1, 4, 9, 28, 32, 64]),
    kv_heads=st.sampled_from([1, 2, 4, 8]),
    head_dim=st.sampled_from([32, 64, 128]),
    intermediate=st.sampled_from([128, 1536, 28672]),
    vocab=st.integers(100, 200_000),
    max_context=st.integers(1024, 131072),
    source=st.just("test"),
)


@given(shape=shapes, sku=st.sampled_from(list(ResourceSKU)))
def test_a_plan_holds_only_what_fits(shape: ModelShape, sku: ResourceSKU) -> None:
    try:
        resolved = plan(shape, compute={"sku": sku.value})
    except BadInput:
        return
    assert len(resolved.tensor_parallel) >= 1
    assert set(resolved.baseline_tensor_parallel) <= set(resolved.tensor_parallel)
    for degree in resolved.tensor_parallel:
        assert splits(shape, degree) is None
        assert degree <= sku.facts.devices
        serving = resolved.serving.model_copy(update={"tensor_parallel": degree})
        assert fit(shape, INT8, sku.facts, serving).kv_tokens >= resolved.serving.max_model_len
    assert resolved.serving.max_model_len == context_length(resolved.job, shape)
    assert Plan.model_validate_json(resolved.model_dump_json()) == resolved


@given(shape=shapes, tokens=st.integers(16, 4096))
def test_more_memory_never_fits_less(shape: ModelShape, tokens: int) -> None:
    serving = ServingConfig(max_model_len=tokens)
    small = fit(shape, None, ResourceSKU.H100_1.facts, serving)
    large = fit(shape, None, ResourceSKU.H200_1.facts, serving)
    assert large.kv_tokens >= small.kv_tokens
    assert large.fits or not small.fits


def test_groups_of_weights_do_not_straddle_devices() -> None:
    grouped = INT8.model_copy(update={"name": "int_w4a16", "scheme": "W8A8", "grouped": True})
    qwen = LLAMA.model_copy(
        update={"hidden": 3584, "heads": 28, "kv_heads": 4, "intermediate": 18944}
    )
    assert plan(qwen, grouped).tensor_parallel == (1, 2, 4)
    found = fit(qwen, grouped, ResourceSKU.H100_8.facts, ServingConfig(max_model_len=64))
    assert found.fits
    eight = ServingConfig(max_model_len=64, tensor_parallel=4)
    odd = qwen.model_copy(update={"intermediate": 18944 + 128})
    reason = fit(odd, grouped, ResourceSKU.H100_8.facts, eight).reason
    assert "groups of 128 weights cannot be divided over 4 devices: the MLP has 4768" in reason


def test_an_engine_flag_with_a_field_of_its_own_sets_the_field() -> None:
    flags = {"--enable-prefix-caching": True, "kv_cache_dtype": "fp8", "async-scheduling": True}
    found = plan(engine={"flags": {**flags, "no-enforce-eager": True}}).serving
    assert (found.enable_prefix_caching, found.kv_cache_dtype) == (True, "fp8")
    assert found.enforce_eager is False
    assert found.extra_flags == (("async-scheduling", True),)
    with pytest.raises(SpecError, match=r"engine\.flags.*kv_cache_dtype"):
        plan(engine={"flags": {"kv-cache-dtype": "int3"}})
