"""Step times of known models on known devices: order, and the facts that are known."""

from __future__ import annotations

import numpy as np
import pytest

from optikit.core.fit import fit
from optikit.core.load import plan_load
from optikit.core.simulate import SimulatedServer
from optikit.core.steptimes import ASSUMPTIONS, StepTimes, roofline
from optikit.errors import DoesNotFit
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import ResourceSKU
from optikit.spec.workload import Workload
from optikit.stores.shapes import shipped_shape


def recipe(dtype: str, scheme: str, block_bytes: float = 1.0) -> RecipeFacts:
    return RecipeFacts.parse(
        {
            "name": dtype,
            "summary": "",
            "scheme": scheme,
            "needs_calibration": False,
            "default_samples": 0,
            "block_bytes_per_parameter": block_bytes,
            "compute_dtype": dtype,
        }
    )


FP8, INT8 = recipe("fp8", "FP8_DYNAMIC"), recipe("int8", "W8A8")
W4A16 = recipe("own", "W4A16", 0.5)


def steps(
    model: str = "qwen-2.5-7b",
    how: RecipeFacts | None = None,
    sku: ResourceSKU = ResourceSKU.H100_8,
    tp: int = 1,
) -> StepTimes:
    shape = shipped_shape(model)
    assert shape is not None
    serving = ServingConfig(tensor_parallel=tp, max_model_len=2048)
    return roofline(shape, how, sku.facts, serving)


@pytest.mark.parametrize("tp", [1, 4])
def test_more_work_takes_longer(tp: int) -> None:
    found = steps(tp=tp)
    assert (np.diff(found.linear_s) >= 0).all()
    assert found.linear_s[-1] > 10 * found.linear_s[1]
    assert found.linear_s[1] > 0
    decodes = [found.decode_s(n, 1000) for n in (1, 8, 64, 256)]
    assert decodes == sorted(decodes)
    assert len(set(decodes)) == 4
    contexts = [found.decode_s(64, c) for c in (100, 1000, 10_000)]
    assert contexts == sorted(contexts)
    prefills = [found.prefill_s(n) for n in (64, 512, 2048)]
    assert prefills == sorted(prefills)


def test_a_decode_of_one_reads_the_weights_and_a_prefill_computes() -> None:
    shape = shipped_shape("qwen-2.5-7b")
    assert shape is not None
    found = steps()
    read = 2 * (shape.block_parameters + shape.vocab * shape.hidden)
    assert found.linear_s[1] == pytest.approx(read / (0.8 * 3.35e12), rel=0.01)
    compute = 2 * shape.block_parameters * 8192 / (0.65 * 989e12)
    assert found.linear_s[8192] == pytest.approx(compute, rel=0.05)
    assert found.kv_s == pytest.approx(shape.kv_bytes_per_token(2) / (0.8 * 3.35e12), rel=0.01)


def test_eight_bits_are_faster_than_sixteen() -> None:
    own = steps()
    for how in (FP8, INT8):
        compressed = steps(how=how)
        # half the bytes to read, and twice the arithmetic
        assert compressed.linear_s[1] < 0.65 * own.linear_s[1]
        assert compressed.linear_s[8192] < 0.55 * own.linear_s[8192]
        assert compressed.kv_s == own.kv_s
        assert compressed.attention_s == own.attention_s


def test_weights_of_four_bits_read_less_and_compute_as_much() -> None:
    own, four = steps(), steps(how=W4A16)
    assert four.linear_s[1] < 0.5 * own.linear_s[1]
    assert four.linear_s[8192] == own.linear_s[8192]


def test_a_scheme_of_none_is_no_recipe() -> None:
    nothing = recipe("own", "none", 2.0)
    np.testing.assert_array_equal(steps(how=nothing).linear_s, steps().linear_s)


def test_two_devices_halve_what_is_not_talk_between_them() -> None:
    one, two = steps("llama-3-70b"), steps("llama-3-70b", tp=2)
    assert 0.5 < two.linear_s[1] / one.linear_s[1] < 0.56
    assert 0.5 < two.linear_s[8192] / one.linear_s[8192] < 0.7  # the all-reduces
    assert two.kv_s == one.kv_s / 2
    assert two.attention_s == one.attention_s / 2
    assert steps("llama-3-70b", tp=8).kv_s == one.kv_s / 8  # eight KV heads


def test_an_a100_has_no_fp8() -> None:
    with pytest.raises(DoesNotFit, match=r"A100.* has no fp8 arithmetic; it has .*int8"):
        steps(how=FP8, sku=ResourceSKU.A100_8)
    faster = steps(how=INT8, sku=ResourceSKU.A100_8)
    assert faster.linear_s[8192] < 0.55 * steps(sku=ResourceSKU.A100_8).linear_s[8192]
    assert steps().linear_s[8192] < 0.4 * steps(sku=ResourceSKU.A100_8).linear_s[8192]


def test_the_cpu_of_this_project_is_far_slower() -> None:
    gpu, cpu = steps("smollm2-135m"), steps("smollm2-135m", sku=ResourceSKU.CPU_2)
    assert cpu.linear_s[512] > 100 * gpu.linear_s[512]


def test_the_source_names_its_assumptions() -> None:
    assert "H100" in steps().source
    assert ASSUMPTIONS in steps().source


def idle_e2e_ms(how: RecipeFacts | None, tp: int = 1) -> float:
    shape, sku = shipped_shape("qwen-2.5-7b"), ResourceSKU.H100_8.facts
    assert shape is not None
    serving = ServingConfig(tensor_parallel=tp, max_model_len=1500)
    server = SimulatedServer(
        roofline(shape, how, sku, serving), 256, 8192, fit(shape, how, sku, serving).kv_tokens
    )
    load = plan_load(Workload.parse({"prompt_tokens": 1200, "output_tokens": 80}), None, 10, 1)
    found = server.run(load, concurrency=1).timings
    return float(1e3 * np.mean(found.end_s - found.sent_s))


def test_the_talks_slo_is_missed_uncompressed_and_met_compressed() -> None:
    """eBay's case: Qwen2.5-7B, 1200 + 80 tokens, p95(e2e) <= 500 ms on one H100."""
    assert 500 < idle_e2e_ms(None) < 750
    assert 250 < idle_e2e_ms(FP8) < 500
    assert idle_e2e_ms(None, tp=2) < 500
