"""int8 weights and activations: SmoothQuant, then GPTQ.

SmoothQuant moves outliers of the activations into the weights (Xiao et al. 2023, arXiv 2211.10438);
GPTQ rounds weights against second-order error (Frantar et al. 2022, arXiv 2210.17323).
"""

from __future__ import annotations

from optikit.core.schemes import bytes_per_parameter
from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="int_w8a8",
        summary="int8 weights and activations by SmoothQuant and GPTQ",
        scheme="W8A8",
        needs_calibration=True,
        default_samples=256,
        block_bytes_per_parameter=bytes_per_parameter(8),
        compute_dtype="int8",
        engines={"vllm": FIRST_VLLM},
    ),
    steps=(
        Step("SmoothQuantModifier", arguments={"smoothing_strength": 0.8}),
        Step("GPTQModifier", scheme="W8A8"),
    ),
)
