"""int8 weights and activations, rounded to nearest; needs no calibration text."""

from __future__ import annotations

from optikit.core.schemes import bytes_per_parameter
from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="int_w8a8_rtn",
        summary="int8 weights and activations, rounded to nearest, no calibration",
        scheme="W8A8",
        needs_calibration=False,
        default_samples=0,
        block_bytes_per_parameter=bytes_per_parameter(8),
        compute_dtype="int8",
        engines={"vllm": FIRST_VLLM},
    ),
    steps=(Step("QuantizationModifier", scheme="W8A8"),),
)
