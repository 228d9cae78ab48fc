"""fp4 (E2M1) weights and activations with an fp8 scale for every 16, NVIDIA's format for Blackwell.

On GPUs before Blackwell vLLM unpacks the weights (Marlin) and ignores the activations' scales.
"""

from __future__ import annotations

from optikit.core.schemes import bytes_per_parameter
from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="nvfp4",
        summary="fp4 weights and activations in groups of 16",
        scheme="NVFP4",
        needs_calibration=True,
        default_samples=512,
        block_bytes_per_parameter=bytes_per_parameter(4, group=16, scale_bits=8),
        compute_dtype="fp4",
        engines={"vllm": FIRST_VLLM},
        weight_only_on=("A100", "H100", "H200", "L40S"),
    ),
    steps=(Step("QuantizationModifier", scheme="NVFP4"),),
)
