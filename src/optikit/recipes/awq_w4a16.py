"""int4 weights with a scale and a zero point a group, activations as they are: AWQ.

Before rounding, channels that meet large activations are scaled up, by the factors that change the
block's output least (Lin et al. 2023, arXiv 2306.00978).
"""

from __future__ import annotations

from optikit.core.schemes import bytes_per_parameter
from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="awq_w4a16",
        summary="int4 weights with zero points by AWQ, activations as they are",
        scheme="W4A16_ASYM",
        needs_calibration=True,
        default_samples=512,
        block_bytes_per_parameter=bytes_per_parameter(4, group=128, zero_bits=4),
        compute_dtype="own",
        grouped=True,
        engines={"vllm": FIRST_VLLM},
    ),
    steps=(
        Step("AWQModifier"),
        Step("QuantizationModifier", scheme="W4A16_ASYM", grouped=True),
    ),
)
