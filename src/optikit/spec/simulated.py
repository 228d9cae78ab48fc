"""What exists on paper only, and the word that every output says of it."""

from __future__ import annotations

from pydantic import Field

from optikit.spec.base import Spec
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts

__all__ = ["MARK", "MODEL_FILE", "SimulatedModel", "SimulatedReplica", "marked"]

MARK = "SIMULATED"
"""Stands before every figure that no server gave."""
MODEL_FILE = "simulated.json"
"""A :class:`SimulatedModel`, in the place of a checkpoint."""


def marked(text: str, simulated: bool) -> str:
    """The text, with the mark before it where it speaks of a simulation.

    >>> marked("Trials", True), marked("Trials", False)
    ('SIMULATED: Trials', 'Trials')
    """
    return f"{MARK}: {text}" if simulated else text


class SimulatedModel(Spec):
    """What stands where a real job has a checkpoint: the model's shape, and what it runs on."""

    shape: ModelShape
    recipe: RecipeFacts | None
    """None: uncompressed."""
    sku: SkuFacts


class SimulatedReplica(Spec):
    """One server of one model on one SKU."""

    shape: ModelShape
    recipe: RecipeFacts | None
    """None: uncompressed."""
    sku: SkuFacts
    serving: ServingConfig
    noise: float = Field(default=0.03, ge=0, lt=1)
    """Standard deviation of a step's time over its mean."""
    seed: int = Field(default=0, ge=0)
    """Of the noise."""
    step_times: str = "roofline"
    """``roofline``, or ``kernels`` for measured tables (extra ``kernels``)."""
