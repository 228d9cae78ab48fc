"""What a compression recipe declares of itself, so that a plan can be made without running it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["ComputeDtype", "EngineFacts", "RecipeFacts"]

ComputeDtype = Literal["own", "bf16", "fp8", "int8", "fp4"]


class RecipeFacts(Spec):
    """Declared by every recipe; pure data."""

    name: str
    summary: str
    scheme: str
    """Name of the quantization scheme, as compressed-tensors writes it; 'none' for no change."""
    needs_calibration: bool
    default_samples: int = Field(ge=0)
    block_bytes_per_parameter: float = Field(gt=0)
    """Bytes a weight of a linear layer takes, scales included."""
    compute_dtype: ComputeDtype
    """Dtype of the matrix products where the device has it; 'own' is the model's."""
    kv_dtype: Literal["own", "fp8"] = "own"
    """Dtype of the KV cache that the checkpoint asks for."""
    grouped: bool = False
    """A scale for each group of weights of a row, of the size that core/schemes.py chooses."""
    engines: dict[str, str] = Field(default_factory=dict)
    """The first version of each engine that opens such checkpoints; not named: any."""
    weight_only_on: tuple[str, ...] = ()
    """Accelerators without arithmetic in ``compute_dtype`` on which the engine unpacks the weights
    to the model's own dtype: less memory to read, no more FLOP/s."""
    not_on: tuple[str, ...] = ()
    """Accelerators for which the engine has no kernel at all."""

    def computes_in(self, accelerator: str | None) -> ComputeDtype | None:
        """Dtype of the matrix products there; None where the engine has no kernel.

        Args:
            accelerator: as in ``SkuFacts.accelerator``; None for a CPU.
        """
        if accelerator is not None and accelerator in self.not_on:
            return None
        if accelerator is not None and accelerator in self.weight_only_on:
            return "own"
        return self.compute_dtype


class EngineFacts(Spec):
    """Declared by every engine; pure data."""

    name: str
    serves: dict[str, tuple[str, ...]]
    """Device kind to the schemes it has kernels for, e.g. ``{'cpu': ('none', 'W8A8')}``."""
    doubtful: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The same for schemes that only some hardware of the kind can run: tried, then seen."""
    simulated: bool = False
    elsewhere: bool = False
    """Its servers are somebody else's: they are measured, never started, and no device is held."""
    memory_share: float = Field(default=0.9, gt=0, le=1)
    """``gpu_memory_utilization`` unless a job says otherwise."""
    prompt_logprobs: bool = True
    """Whether its servers tell the log-probabilities of a prompt's tokens by their ids, which the
    divergence measure of the quality gate needs."""
