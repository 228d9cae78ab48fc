"""Flows: which stages run, in which order, and what they need."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from optikit.spec.base import Spec

__all__ = ["STAGE_ORDER", "Flow", "StageName"]

StageName = Literal["fetch", "compress", "evaluate", "benchmark", "tune", "publish"]
STAGE_ORDER: tuple[StageName, ...] = (
    "fetch",
    "compress",
    "evaluate",
    "benchmark",
    "tune",
    "publish",
)


class Flow(Spec):
    """An ordered subset of the six stages."""

    name: str
    stages: tuple[StageName, ...]
    summary: str

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        order = [STAGE_ORDER.index(stage) for stage in self.stages]
        if order != sorted(set(order)) or not order or self.stages[0] != "fetch":
            raise ValueError(f"stages must start with fetch and keep the order {STAGE_ORDER}")
        return self

    @property
    def compresses(self) -> bool:
        """Whether a recipe is applied."""
        return "compress" in self.stages

    @property
    def measures(self) -> bool:
        """Whether a rate is searched."""
        return "benchmark" in self.stages or "tune" in self.stages
