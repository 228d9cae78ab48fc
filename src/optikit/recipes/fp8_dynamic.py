"""fp8 (E4M3) weights a channel and activations a token, rounded to nearest; no calibration."""

from __future__ import annotations

from optikit.core.schemes import bytes_per_parameter
from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="fp8_dynamic",
        summary="fp8 weights and dynamic fp8 activations, no calibration",
        scheme="FP8_DYNAMIC",
        needs_calibration=False,
        default_samples=0,
        block_bytes_per_parameter=bytes_per_parameter(8),
        compute_dtype="fp8",
        engines={"vllm": FIRST_VLLM},
        weight_only_on=("A100",),  # Marlin; fp8 products need capability 8.9
    ),
    steps=(Step("QuantizationModifier", scheme="FP8_DYNAMIC"),),
)
