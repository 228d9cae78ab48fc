"""A small model's shape and plans for it: what most unit tests start from."""

from __future__ import annotations

from typing import Any

from optikit.core.plan import make_plan
from optikit.flows import FLOWS
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.recipe import EngineFacts, RecipeFacts

SMALL = ModelShape(
    architecture="LlamaForCausalLM",
    layers=2,
    hidden=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    intermediate=128,
    vocab=1000,
    max_context=2048,
    source="test",
)
RTN = RecipeFacts(
    name="int_w8a8_rtn",
    summary="int8, rounded to nearest",
    scheme="W8A8",
    needs_calibration=False,
    default_samples=0,
    block_bytes_per_parameter=1.0,
    compute_dtype="int8",
)
ENGINE = EngineFacts(name="vllm", serves={"cpu": ("none", "W8A8"), "gpu": ("none", "W8A8")})


def small_plan(**spec: Any) -> Plan:
    """A plan of the small model on CPU_2; flow ``tune`` unless the spec says otherwise."""
    job = OptimizationJob.parse(
        {"flow": "tune", "model": {"name": "m"}, "compute": {"sku": "CPU_2"}, **spec}
    )
    flow = FLOWS.load(job.flow)
    return make_plan(job, flow, SMALL, ENGINE, [RTN] if flow.compresses else [])
