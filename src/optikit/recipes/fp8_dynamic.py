"""fp8 (E4M3) weights a channel and activations a token, rounded to nearest; no calibration."""

from __future__ import annotations

from optikit.recipes._llmcompressor import IGNORE, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="fp8_dynamic",
        summary="fp8 weights and dynamic fp8 activations, no calibration",
        scheme="FP8_DYNAMIC",
        needs_calibration=False,
        default_samples=0,
        block_bytes_per_parameter=1.01,
        compute_dtype="fp8",
    ),
    steps=(
        Step(
            "QuantizationModifier",
            (("targets", "Linear"), ("scheme", "FP8_DYNAMIC"), ("ignore", list(IGNORE))),
        ),
    ),
)
