"""int8 weights and activations, rounded to nearest; needs no calibration text."""

from __future__ import annotations

from optikit.recipes._llmcompressor import IGNORE, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="int_w8a8_rtn",
        summary="int8 weights and activations, rounded to nearest, no calibration",
        scheme="W8A8",
        needs_calibration=False,
        default_samples=0,
        block_bytes_per_parameter=1.01,
        compute_dtype="int8",
    ),
    steps=(
        Step(
            "QuantizationModifier",
            (("targets", "Linear"), ("scheme", "W8A8"), ("ignore", list(IGNORE))),
        ),
    ),
)
