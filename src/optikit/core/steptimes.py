"""How long one step of the engine takes: a roofline from the device's data sheet.

A step that works on t tokens in total, d of them decodes over contexts of c tokens in sum, takes ::

    linear(t) + kv * c + attention * sum(chunk * context of a prefill) + step + seq * requests

``linear`` holds the weights' products (the larger of the time to compute and the time to read the
weights, as Williams, Waterman and Patterson's roofline has it, CACM 52, 2009, p. 65) and the
all-reduces of tensor parallelism. Efficiencies and latencies below are assumptions, named as such
in every simulated result; measured kernel tables can take their place (adapters/kernels.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optikit.core.fit import kv_bytes
from optikit.errors import DoesNotFit
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts

__all__ = ["ASSUMPTIONS", "KERNELS", "StepTimes", "assumptions", "on_paper", "roofline"]

COMPUTE_EFFICIENCY = 0.65
"""Share of the peak FLOP/s that large matrix products reach."""
BANDWIDTH_EFFICIENCY = 0.80
"""Share of the peak bandwidth that reading weights and KV cache reaches."""
ATTENTION_EFFICIENCY = 0.45
"""Share of the peak FLOP/s that the attention of a prefill reaches."""
LINK_BYTES_PER_S = {"gpu": 300e9, "cpu": 10e9}
"""What an all-reduce moves per second and direction between two devices of a node."""
LINK_LATENCY_S = {"gpu": 8e-6, "cpu": 50e-6}
STEP_S = {"gpu": 1.5e-3, "cpu": 5e-3}
"""Scheduler, sampler and launches of a step, whatever is in it."""
SEQ_S = {"gpu": 4e-6, "cpu": 30e-6}
"""The same for each request in the step."""
ASSUMPTIONS = (
    f"compute at {COMPUTE_EFFICIENCY:.0%} and bandwidth at {BANDWIDTH_EFFICIENCY:.0%} of the data "
    f"sheet's peak, attention at {ATTENTION_EFFICIENCY:.0%}"
)

KERNELS = "kernel times that NVIDIA measured with vLLM's kernels (aiconfigurator-core)"


@dataclass(frozen=True)
class StepTimes:
    """Seconds; see the module."""

    linear_s: NDArray[np.float64]
    """By tokens of the step, shape ``(max_num_batched_tokens + 1,)``."""
    kv_s: float
    attention_s: float
    step_s: float
    seq_s: float
    source: str
    """Where the figures come from, for the certificate."""

    def decode_s(self, requests: int, context: float) -> float:
        """One step that decodes ``requests`` requests of ``context`` tokens each."""
        fixed = float(self.linear_s[requests]) + self.step_s + self.seq_s * requests
        return fixed + self.kv_s * requests * context

    def prefill_s(self, tokens: int) -> float:
        """One step that prefills one prompt."""
        fixed = float(self.linear_s[tokens]) + self.step_s + self.seq_s
        return fixed + self.attention_s * tokens * tokens / 2


def assumptions(serving: ServingConfig) -> str:
    """What a simulation of this config rests on."""
    flags = {name.lower().replace("-", "_"): value for name, value in serving.extra_flags}
    return KERNELS if flags.get("step_times") == "kernels" else ASSUMPTIONS


def on_paper(sku: SkuFacts, serving: ServingConfig) -> dict[str, str]:
    """The hardware of a simulated certificate: what was assumed, not what was seen."""
    device = f"{sku.devices} x {sku.accelerator}" if sku.accelerator else f"{sku.cpus} CPU cores"
    return {
        "simulated": f"{device}, none was there",
        "data sheet": sku.source,
        "assumptions": assumptions(serving),
    }


def roofline(
    shape: ModelShape, recipe: RecipeFacts | None, sku: SkuFacts, serving: ServingConfig
) -> StepTimes:
    """Step times of one replica.

    Weights of the blocks are read at the recipe's bytes and multiplied at the peak of its compute
    dtype there; embeddings, output head and attention stay at the model's own dtype, the KV cache
    too unless the recipe says otherwise. An all-reduce of b bytes over n devices is a ring:
    2 (n - 1) / n * b over the link, twice a layer.

    Raises:
        DoesNotFit: the device lacks the compute dtype.
    """
    tp, kind = serving.tensor_parallel, sku.kind
    own = "fp32" if serving.dtype == "float32" or "bf16" not in sku.flops_per_s else "bf16"
    own_bytes = 4 if serving.dtype == "float32" else 2
    compressed = recipe is not None and recipe.scheme != "none"
    asked = recipe.computes_in(sku.accelerator) if recipe is not None and compressed else "own"
    dtype: str = own if asked == "own" else str(asked)
    if dtype not in sku.flops_per_s:
        raise DoesNotFit(
            f"{sku.accelerator or 'this CPU'} has no {dtype} arithmetic; it has "
            f"{', '.join(sku.flops_per_s)}"
        )
    block_bytes = (
        recipe.block_bytes_per_parameter if recipe is not None and compressed else own_bytes
    )
    flops = sku.flops_per_s[dtype] * COMPUTE_EFFICIENCY * tp
    own_flops = sku.flops_per_s[own]
    bandwidth = sku.bandwidth_bytes_per_s * BANDWIDTH_EFFICIENCY * tp
    tokens = np.arange(serving.max_num_batched_tokens + 1, dtype=np.float64)
    compute = 2.0 * shape.block_parameters * tokens / flops
    read = (shape.block_parameters * block_bytes) / bandwidth
    head = shape.vocab * shape.hidden
    head_read = head * own_bytes / bandwidth
    linear = np.maximum(compute, read) + head_read
    if tp > 1:
        moved = 2.0 * (tp - 1) / tp * tokens * shape.hidden * own_bytes
        reduce_s = moved / LINK_BYTES_PER_S[kind] + LINK_LATENCY_S[kind] * np.log2(2 * tp)
        linear = linear + 2 * shape.layers * reduce_s
    kv_split = min(tp, shape.kv_heads)
    per_device = sku.bandwidth_bytes_per_s * BANDWIDTH_EFFICIENCY
    element = 1 if serving.kv_cache_dtype == "fp8" else kv_bytes(recipe, own_bytes)
    kv_s = shape.kv_bytes_per_token(element) / kv_split / per_device
    heads = 4.0 * shape.layers * shape.heads * shape.head_dim
    return StepTimes(
        linear_s=linear,
        kv_s=kv_s,
        attention_s=heads / (own_flops * ATTENTION_EFFICIENCY * tp),
        step_s=STEP_S[kind],
        seq_s=SEQ_S[kind] + 2.0 * head / (own_flops * COMPUTE_EFFICIENCY * tp),
        source=f"roofline of {sku.source} ({ASSUMPTIONS})",
    )
