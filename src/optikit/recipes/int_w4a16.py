"""int4 weights with a scale a group, activations as they are: GPTQ.

Frantar et al. 2022, arXiv 2210.17323. Products are in the model's own dtype everywhere (Marlin;
on Hopper Machete): fewer bytes to read, not more FLOP/s.
"""

from __future__ import annotations

from optikit.core.schemes import bytes_per_parameter
from optikit.recipes._llmcompressor import FIRST_VLLM, OneShot, Step
from optikit.spec.recipe import RecipeFacts

RECIPE = OneShot(
    facts=RecipeFacts(
        name="int_w4a16",
        summary="int4 weights by GPTQ, activations as they are",
        scheme="W4A16",
        needs_calibration=True,
        default_samples=512,
        block_bytes_per_parameter=bytes_per_parameter(4, group=128),
        compute_dtype="own",
        grouped=True,
        engines={"vllm": FIRST_VLLM},
    ),
    steps=(Step("GPTQModifier", scheme="W4A16", grouped=True),),
)
