"""fp8 KV cache with calibrated scales, on the weights and activations of fp8_dynamic.

vLLM reads ``kv_cache_scheme`` of config.json and serves with ``--kv-cache-dtype fp8`` and the
checkpoint's k_scale and v_scale, one of each a layer; no flag is needed, and one that the caller
gives wins. With FlashAttention 3 it quantizes the queries too, by the keys' scale. Beside
fp8_dynamic it shows what the KV cache alone costs in quality.
"""

from __future__ import annotations

from optikit.core.schemes import bytes_per_parameter
from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="fp8_kv",
        summary="fp8 KV cache, calibrated, with fp8 weights and dynamic fp8 activations",
        scheme="FP8_KV",
        needs_calibration=True,
        default_samples=256,
        block_bytes_per_parameter=bytes_per_parameter(8),
        compute_dtype="fp8",
        kv_dtype="fp8",
        engines={"vllm": FIRST_VLLM},
        weight_only_on=("A100",),  # Marlin; the cache is unpacked by FlashInfer
    ),
    steps=(
        Step(
            "QuantizationModifier",
            scheme="FP8_DYNAMIC",
            arguments={
                "kv_cache_scheme": {
                    "num_bits": 8,
                    "type": "float",
                    "strategy": "tensor",
                    "symmetric": True,
                    "dynamic": False,
                }
            },
        ),
    ),
)
