"""int8 weights and activations by GPTQ alone: the activations' outliers stay where they are."""

from __future__ import annotations

from optikit.recipes import OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="int_w8a8_gptq",
        summary="int8 weights and activations by GPTQ, without SmoothQuant",
        scheme="W8A8",
        needs_calibration=True,
        default_samples=256,
        block_bytes_per_parameter=1.01,
        compute_dtype="int8",
    ),
    steps=(Step("GPTQModifier", scheme="W8A8"),),
)
