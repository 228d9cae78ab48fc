"""The serving profile: what a request looks like and when requests arrive."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from optikit.spec.base import Spec

__all__ = ["Arrivals", "Workload"]

Arrivals = Literal["poisson", "constant"]


class Workload(Spec):
    """Lengths in tokens of the served model's tokenizer; arrivals of the open-loop probes.

    ``prefix_tokens`` of every prompt are the same for all requests (a system prompt); the rest
    of a prompt is never sent twice within a probe.
    """

    prompt_tokens: int = Field(default=512, ge=1, le=10_000_000)
    """Prompt length, the shared prefix included."""
    output_tokens: int = Field(default=128, ge=1, le=10_000_000)
    """Output length; it is enforced (the end-of-sequence token is ignored)."""
    prefix_tokens: int = Field(default=0, ge=0)
    arrivals: Arrivals = "poisson"
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _prefix_inside_prompt(self) -> Self:
        if self.prefix_tokens >= self.prompt_tokens:
            raise ValueError(
                f"prefix_tokens ({self.prefix_tokens}) is part of prompt_tokens "
                f"({self.prompt_tokens}) and must be smaller"
            )
        return self

    @property
    def total_tokens(self) -> int:
        """Context that one request needs."""
        return self.prompt_tokens + self.output_tokens
