"""Weights, activations and KV cache held against a SKU: what can stand there at all.

The memory model follows vLLM's own profiling: an engine may use ``gpu_memory_utilization`` of a
device; weights, the peak of activations of one step, and a fixed overhead come off; the rest is
KV cache. Weights and KV heads are split over the tensor-parallel devices.
"""

from __future__ import annotations

from typing import Literal

from optikit.core.schemes import GROUP_SIZES, largest_group
from optikit.spec.base import Spec
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import GIB, SkuFacts

__all__ = ["Fit", "element_bytes", "fit", "kv_bytes", "splits", "weight_bytes"]

CUDA_OVERHEAD_BYTES = GIB
"""CUDA context, NCCL buffers and graphs of one device; an allowance, not a measurement."""
CPU_KV_BYTES = GIB
"""What the engine is given for KV cache on a CPU SKU (VLLM_CPU_KVCACHE_SPACE=1)."""


class Fit(Spec):
    """Whether a serving config can stand, and how many tokens its KV cache then holds."""

    tensor_parallel: int
    fits: bool
    kv_tokens: int
    reason: str


def element_bytes(dtype: Literal["auto", "float32", "bfloat16", "float16"]) -> int:
    """Bytes of one unquantized weight or KV element; ``auto`` is taken for 16 bit."""
    return 4 if dtype == "float32" else 2


def kv_bytes(recipe: RecipeFacts | None, own_bytes: int) -> int:
    """Bytes of one element of the KV cache."""
    return 1 if recipe is not None and recipe.kv_dtype == "fp8" else own_bytes


def weight_bytes(shape: ModelShape, recipe: RecipeFacts | None, own_bytes: int = 2) -> int:
    """Bytes of all weights; a recipe touches the linear layers of the blocks only.

    Args:
        recipe: None, or a recipe whose scheme is 'none', for the uncompressed model.
        own_bytes: bytes a parameter of the model's own dtype takes.
    """
    rest = (shape.embedding_parameters + shape.norm_parameters) * own_bytes
    compressed = recipe is not None and recipe.scheme != "none"
    per_parameter = recipe.block_bytes_per_parameter if recipe and compressed else own_bytes
    return int(shape.block_parameters * per_parameter + rest)


def splits(shape: ModelShape, tensor_parallel: int) -> str | None:
    """Why the model cannot be split over that many devices, None if it can."""
    tp = tensor_parallel
    if shape.heads % tp:
        return f"{shape.heads} attention heads cannot be divided over {tp} devices"
    if shape.kv_heads % tp and tp % shape.kv_heads:
        return f"{shape.kv_heads} KV heads cannot be divided over {tp} devices"
    if shape.intermediate % tp:
        return f"an MLP of width {shape.intermediate} cannot be divided over {tp} devices"
    return None


def _groups_straddle(shape: ModelShape, tensor_parallel: int) -> str | None:
    """Why a grouped recipe cannot be split over that many devices, None if it can.

    The inputs of the attention's output and of the MLP's down projection are split; each part must
    hold whole groups.
    """
    attention = shape.heads * shape.head_dim
    group = largest_group((shape.hidden, attention, shape.intermediate))
    if group is None:
        return f"no group of {', '.join(map(str, GROUP_SIZES))} weights divides its layers"
    for name, width in (("attention", attention), ("MLP", shape.intermediate)):
        if width // tensor_parallel % group:
            return (
                f"groups of {group} weights cannot be divided over {tensor_parallel} devices: the "
                f"{name} has {width // tensor_parallel} inputs on each"
            )
    return None


def fit(
    shape: ModelShape,
    recipe: RecipeFacts | None,
    sku: SkuFacts,
    serving: ServingConfig,
) -> Fit:
    """Hold one serving config against the SKU.

    At least one request of ``max_model_len`` tokens must find room in the KV cache.
    """
    tp = serving.tensor_parallel

    def no(reason: str, tokens: int = 0) -> Fit:
        return Fit(tensor_parallel=tp, fits=False, kv_tokens=tokens, reason=reason)

    if tp > sku.devices:
        return no(f"asked {tp} devices, the SKU has {sku.devices}")
    unsplit = splits(shape, tp) or (
        _groups_straddle(shape, tp) if recipe is not None and recipe.grouped else None
    )
    if unsplit:
        return no(unsplit)
    own = element_bytes(serving.dtype)
    weights = weight_bytes(shape, recipe, own) / tp
    kv_split = min(tp, shape.kv_heads)
    element = 1 if serving.kv_cache_dtype == "fp8" else kv_bytes(recipe, own)
    kv_token = shape.kv_bytes_per_token(element) / kv_split
    if sku.kind == "cpu":
        room = sku.memory_bytes * serving.gpu_memory_utilization - weights
        kv_room = min(float(CPU_KV_BYTES), room)
    else:
        usable = sku.memory_bytes * serving.gpu_memory_utilization
        kv_room = usable - weights - _activations(shape, serving) - CUDA_OVERHEAD_BYTES
    tokens = max(0, int(kv_room / kv_token))
    if tokens < serving.max_model_len:
        return no(
            f"weights take {weights / GIB:.1f} GiB of {sku.memory_bytes / GIB:.1f} GiB a device at "
            f"TP {tp}; the KV cache then holds {tokens} tokens, one request may need "
            f"{serving.max_model_len}",
            tokens,
        )
    return Fit(
        tensor_parallel=tp,
        fits=True,
        kv_tokens=tokens,
        reason=f"{weights / GIB:.1f} GiB of weights a device, KV cache for {tokens} tokens",
    )


def _activations(shape: ModelShape, serving: ServingConfig) -> float:
    """Peak of one step: gate and up projections, residual and attention streams, logits."""
    per_token = 2 * shape.intermediate / serving.tensor_parallel + 4 * shape.hidden
    logits = 4 * serving.max_num_seqs * shape.vocab
    return 2 * serving.max_num_batched_tokens * per_token + logits
