"""fp8 (E4M3) weights and activations, one scale a tensor; the activations' scales are calibrated.

Cheaper to serve than fp8_dynamic, which finds a scale for each token as it comes.
"""

from __future__ import annotations

from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="fp8_static",
        summary="fp8 weights and static fp8 activations",
        scheme="FP8",
        needs_calibration=True,
        default_samples=256,
        block_bytes_per_parameter=1.0,
        compute_dtype="fp8",
        engines={"vllm": FIRST_VLLM},
        weight_only_on=("A100",),  # Marlin; fp8 products need capability 8.9
    ),
    steps=(Step("QuantizationModifier", scheme="FP8"),),
)
