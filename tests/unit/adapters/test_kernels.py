"""Step times from tables; the library is played by a law that is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from optikit.adapters import kernels
from optikit.core.steptimes import SEQ_S, STEP_S, roofline
from optikit.errors import BadInput, DoesNotFit
from optikit.recipes.fp8_dynamic import RECIPE as FP8
from optikit.recipes.int_w8a8 import RECIPE as INT8
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import SimulatedReplica
from optikit.spec.sku import ResourceSKU
from optikit.stores.shapes import shipped_shape

FIXED_MS, TOKEN_MS, KV_MS, ATTENTION_MS = 10.0, 0.05, 2e-5, 1e-6


class Law:
    """What the tables would hold: ms of a step."""

    asked: dict[str, Any] = {}  # noqa: RUF012

    @classmethod
    def from_spec(cls, spec: bytes) -> Law:
        return cls()

    def decode_step_latency(self, requests: int, context: int, output: int) -> float:
        return FIXED_MS + TOKEN_MS * requests + KV_MS * requests * context

    def predict_prefill_latency(self, prompts: int, tokens: int) -> float:
        linear = FIXED_MS + TOKEN_MS * prompts * tokens
        return linear + ATTENTION_MS * prompts * tokens * tokens / 2


def compile_engine(folder: str, system: str, backend: str, **options: Any) -> bytes:
    config = json.loads((Path(folder) / "config.json").read_text())
    if options["tp_size"] == 8:
        raise RuntimeError("28 heads\nmore")
    Law.asked = {"config": config, "system": system, "backend": backend, **options}
    return b""


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = ("aiconfigurator_core", "aiconfigurator_core.sdk", "aiconfigurator_core.sdk.engine")
    top, sdk, engine = (ModuleType(name) for name in names)
    vars(top).update(AicEngine=Law)
    vars(engine).update(compile_engine=compile_engine)
    for module in (top, sdk, engine):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    kernels._measured.cache_clear()
    yield
    kernels._measured.cache_clear()


def replica(sku: str = "H100_2", tp: int = 1, recipe: Any = None, **facts: Any) -> SimulatedReplica:
    return SimulatedReplica.parse(
        {
            "shape": shipped_shape("qwen-2.5-7b"),
            "recipe": recipe,
            "sku": ResourceSKU[sku].facts,
            "serving": ServingConfig(max_model_len=1472, tensor_parallel=tp),
            "step_times": "kernels",
            **facts,
        }
    )


def test_the_law_behind_the_tables_is_found() -> None:
    found = kernels.step_times(replica())
    assert found.kv_s == pytest.approx(KV_MS / 1e3)
    assert found.attention_s == pytest.approx(ATTENTION_MS / 1e3)
    assert len(found.linear_s) == 8192 + 1
    for tokens in (2, 64, 700, 8192):
        assert found.linear_s[tokens] == pytest.approx((FIXED_MS + TOKEN_MS * tokens) / 1e3)
    assert (found.step_s, found.seq_s) == (STEP_S["gpu"], SEQ_S["gpu"])
    assert "aiconfigurator-core" in found.source


@pytest.mark.parametrize(
    ("recipe", "mode", "said"), [(None, None, ""), (FP8, "fp8", ""), (INT8, "fp8", "int8 taken")]
)
def test_what_the_library_is_asked(recipe: Any, mode: str | None, said: str) -> None:
    found = kernels.step_times(replica("H200_1", recipe=recipe.facts if recipe else None))
    assert (Law.asked["system"], Law.asked["backend"]) == ("h200_sxm", "vllm")
    assert (Law.asked["tp_size"], Law.asked["gemm_quant_mode"]) == (1, mode)
    assert Law.asked["config"]["num_hidden_layers"] == 28
    assert said in found.source
    assert ("int8" in found.source) == bool(said)


def test_what_the_tables_lack_does_not_fit() -> None:
    with pytest.raises(DoesNotFit, match="no measured kernels for a CPU"):
        kernels.step_times(replica("CPU_2"))
    with pytest.raises(DoesNotFit, match=r"at TP 8: 28 heads\. Leave"):
        kernels.step_times(replica("H100_8", tp=8))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    with pytest.raises(BadInput, match=r"optikit\[kernels\]"):
        kernels.step_times(replica())
    monkeypatch.delitem(sys.modules, "aiconfigurator_core")
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"optikit\[kernels\]"):
        kernels.must_be_installed()


def test_the_roofline_needs_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    asked = replica(step_times="roofline")
    found = kernels.step_times(asked)
    assert found.source == roofline(asked.shape, None, asked.sku, asked.serving).source
