"""What a compression recipe declares of itself, so that a plan can be made without running it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["EngineFacts", "RecipeFacts"]


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
    compute_dtype: Literal["own", "bf16", "fp8", "int8"]
    """Dtype of the matrix products; 'own' is the model's."""


class EngineFacts(Spec):
    """Declared by every engine; pure data."""

    name: str
    serves: dict[str, tuple[str, ...]]
    """Device kind to the schemes it has kernels for, e.g. ``{'cpu': ('none', 'W8A8')}``."""
    simulated: bool = False
