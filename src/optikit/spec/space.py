"""What tuning may choose: as a job asks for it, and as the plan resolves it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from optikit.spec.base import Spec
from optikit.spec.serving import Flag

__all__ = ["Dimension", "FlagRange", "ResolvedSpace", "SearchSpace"]

SEARCH = "search"
"""In the place of a list of values: search over the values that the dimension has by default."""


def _search_alone(data: Any) -> Any:
    return () if data == SEARCH else data


_SEARCHED = BeforeValidator(_search_alone)


def _listed(data: Any) -> Any:
    return {"values": data} if isinstance(data, list | tuple) else data


class FlagRange(Spec):
    """Values of one further engine flag: a list, or numbers from ``low`` to ``high``."""

    values: tuple[Flag, ...] | None = Field(default=None, min_length=1)
    low: float | None = None
    high: float | None = None
    steps: int = Field(default=5, ge=2, le=64)
    """How many values between ``low`` and ``high``, both included."""
    log: bool = False
    """Equal factors between them, not equal differences."""
    type: Literal["int", "float"] = "int"
    """Of a range's values."""
    when: dict[str, Flag] = Field(default_factory=dict)
    """The flag is set only where these other dimensions have these values."""

    @classmethod
    def json_forms(cls, fields: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """The values alone."""
        return ({"type": "array", "minItems": 1},)

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.values is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("give values, or low and high, not both")
            if len({type(value) for value in self.values}) > 1:
                raise ValueError(f"values {list(self.values)} are of several types")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give values, or low and high")
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range begins above 0, not at {self.low:g}")
        return self

    def resolved(self) -> tuple[Flag, ...]:
        """The finite list of values.

        >>> FlagRange(low=16, high=256, log=True).resolved()
        (16, 32, 64, 128, 256)
        """
        if self.values is not None:
            return tuple(dict.fromkeys(self.values))
        low, high = float(self.low or 0), float(self.high or 0)
        parts = [step / (self.steps - 1) for step in range(self.steps)]
        found = [
            low * (high / low) ** part if self.log else low + (high - low) * part for part in parts
        ]
        if self.type == "int":
            return tuple(dict.fromkeys(round(value) for value in found))
        return tuple(dict.fromkeys(float(f"{value:.6g}") for value in found))


Degrees = Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, Field(min_length=1)]
"""None: what the SKU and the workload allow."""


class SearchSpace(Spec):
    """Values that tuning may choose.

    The first three are searched always. The others are searched when they are named, with a list of
    values or with the word ``search`` for those that the dimension has by default.
    """

    tensor_parallel: Degrees = None
    max_num_seqs: Degrees = None
    max_num_batched_tokens: Degrees = None
    data_parallel: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, _SEARCHED] = None
    """Replicas behind one address; each takes ``tensor_parallel`` devices."""
    gpu_memory_utilization: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...] | None, _SEARCHED
    ] = None
    enable_prefix_caching: Annotated[tuple[bool, ...] | None, _SEARCHED] = None
    kv_cache_dtype: Annotated[tuple[Literal["auto", "fp8"], ...] | None, _SEARCHED] = None
    block_size: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, _SEARCHED] = None
    speculative_ngram: Annotated[tuple[Annotated[int, Field(ge=0)], ...] | None, _SEARCHED] = None
    """Tokens that n-gram speculation proposes in a step; 0: no speculation."""
    scheduling_policy: Annotated[tuple[Literal["fcfs", "priority"], ...] | None, _SEARCHED] = None
    enforce_eager: Annotated[tuple[bool, ...] | None, _SEARCHED] = None
    extra_flags: dict[str, Annotated[FlagRange, BeforeValidator(_listed)]] = Field(
        default_factory=dict
    )
    """Further engine flags by their command-line name."""

    @classmethod
    def json_forms(cls, fields: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """Mappings only; most of its fields may be the word ``search``."""
        for name, field in cls.model_fields.items():
            if _SEARCHED in field.metadata:
                fields["properties"][name]["anyOf"].append({"const": SEARCH})
        return ()


class Dimension(Spec):
    """One searched flag with its finite list of values."""

    name: str
    values: tuple[Flag, ...] = Field(min_length=1)
    """Ascending where they are numbers."""
    log: bool = False
    """Neighbours differ by a factor."""
    extra: bool = False
    """An engine flag without a field of its own in the serving config."""
    when: tuple[tuple[str, Flag], ...] = ()
    """Active only where these dimensions have these values; else a point lacks it."""

    @property
    def ordered(self) -> bool:
        """Numbers have an order, words and switches have none."""
        return not any(isinstance(value, bool | str) for value in self.values)


class ResolvedSpace(Spec):
    """The values tuning chooses from, after the SKU, the shape and the memory had their say."""

    dimensions: tuple[Dimension, ...]
    size: int
    """Configurations that can stand; an upper bound where they are too many to be counted."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """Combinations that were never to be started, by reason."""

    def values(self, name: str) -> tuple[Flag, ...]:
        """Values of a dimension, empty where it is not searched."""
        return next((d.values for d in self.dimensions if d.name == name), ())
