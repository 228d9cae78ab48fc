"""The serving profile: what a request looks like and when requests arrive."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_serializer, model_validator

from optikit.errors import SpecError
from optikit.spec.base import Spec

__all__ = ["MAX_TOKENS", "MAX_TRACE_ROWS", "Arrivals", "Columns", "Length", "Trace", "Workload"]

Arrivals = Literal["poisson", "constant", "gamma", "trace"]
MAX_TOKENS = 10_000_000
MAX_TRACE_ROWS = 200_000
_DISTRIBUTIONS = ("fixed", "uniform", "normal", "lognormal")
_LENGTH_FORMS = (
    "a whole number of at least 1, {distribution: uniform, low: , high: }, or "
    "{distribution: normal or lognormal, mean: , std: , high: }"
)


class Length(Spec):
    """A length in tokens: a number, or a distribution that is cut at ``low`` and ``high``.

    ``uniform`` is even over ``low`` to ``high``, both included; ``normal`` and ``lognormal`` have
    the mean and the standard deviation given (of the length itself, before the cut), each value
    rounded to a whole token. ``low`` is 1 where it is not given.

    >>> Length.parse(1200).mean
    1200.0
    >>> Length.parse({"distribution": "uniform", "low": 100, "high": 300}).mean
    200.0
    """

    distribution: Literal["fixed", "uniform", "normal", "lognormal"] = "fixed"
    mean: float = Field(ge=1, le=MAX_TOKENS)
    std: float = Field(default=0.0, ge=0)
    low: int = Field(ge=1, le=MAX_TOKENS)
    """Shortest length drawn."""
    high: int = Field(ge=1, le=MAX_TOKENS)
    """Longest length drawn: what the context must hold."""

    @classmethod
    def json_forms(cls, fields: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """A number; which fields a distribution needs depends on its kind."""
        fields.pop("required")
        return ({"type": "integer", "minimum": 1, "maximum": MAX_TOKENS},)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        if isinstance(data, Length):
            return data
        if isinstance(data, int) and not isinstance(data, bool) and 1 <= data <= MAX_TOKENS:
            return {"distribution": "fixed", "mean": data, "low": data, "high": data}
        if not isinstance(data, dict):
            raise ValueError(f"a length is {_LENGTH_FORMS}")
        for key in ("mean", "std", "low", "high"):
            if key in data and (
                isinstance(data[key], bool) or not isinstance(data[key], int | float)
            ):
                raise ValueError(f"{key} must be a number, found {data[key]!r}")
        kind, given = data.get("distribution", "fixed"), dict(data)
        needed = {"uniform": {"low", "high"}, "fixed": {"mean"}}.get(
            str(kind), {"mean", "std", "high"}
        )
        if kind in _DISTRIBUTIONS and not needed <= set(given):
            lacks = ", ".join(sorted(needed - set(given)))
            raise ValueError(f"a {kind} length lacks {lacks}; a length is {_LENGTH_FORMS}")
        if kind == "uniform":
            given.setdefault("mean", (given["low"] + given["high"]) / 2)
        elif kind == "fixed":
            given.setdefault("low", given["mean"])
            given.setdefault("high", given["mean"])
        else:
            given.setdefault("low", 1)
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.low <= self.mean <= self.high:
            raise ValueError(
                f"low ({self.low}), mean ({self.mean:g}) and high ({self.high}) must be in this "
                "order"
            )
        if self.distribution == "fixed" and self.low != self.high:
            raise ValueError(f"a fixed length cannot go from {self.low} to {self.high}")
        if self.distribution == "uniform" and self.mean != (self.low + self.high) / 2:
            raise ValueError(
                f"a uniform length from {self.low} to {self.high} has a mean of "
                f"{(self.low + self.high) / 2:g}, not {self.mean:g}; leave mean out"
            )
        if self.std and self.distribution in ("fixed", "uniform"):
            raise ValueError(
                f"std belongs to a normal or lognormal length, not {self.distribution}"
            )
        return self

    @model_serializer
    def _as_given(self) -> int | dict[str, Any]:
        if self.distribution == "fixed":
            return self.low
        facts: dict[str, Any] = {"distribution": self.distribution}
        if self.distribution != "uniform":
            facts |= {"mean": self.mean, "std": self.std}
        return {**facts, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.distribution == "fixed":
            return str(self.low)
        if self.distribution == "uniform":
            return f"{self.low} to {self.high}"
        return f"{self.distribution} {self.mean:g} +- {self.std:g} (at most {self.high})"


# no equality: that of a trace is by its fields, and arrays have none that is true or false
@dataclass(frozen=True, eq=False)
class Columns:
    """A trace's rows as vectors of shape ``(rows,)``, not to be written to."""

    arrivals_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]


class Trace(Spec):
    """Requests as they were once seen; equal vectors, arrivals in order."""

    source: str
    """The file it was read from."""
    arrivals_s: tuple[float, ...] = Field(min_length=2, max_length=MAX_TRACE_ROWS)
    """Seconds after the first."""
    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rows = self.columns
        times, prompt, output = rows.arrivals_s, rows.prompt_tokens, rows.output_tokens
        if not len(times) == len(prompt) == len(output):
            raise ValueError(
                f"{len(times)} arrivals, {len(prompt)} prompt and {len(output)} output lengths; "
                "a request has one of each"
            )
        if times[0] != 0 or np.any(np.diff(times) < 0) or times[-1] <= 0:
            raise ValueError("arrivals must begin at 0, be in order and not all be at one instant")
        for name, values in (("prompt", prompt), ("output", output)):
            if not 1 <= values.min() <= values.max() <= MAX_TOKENS:
                raise ValueError(f"{name} lengths must lie between 1 and {MAX_TOKENS}")
        return self

    @cached_property
    def columns(self) -> Columns:
        """The rows as vectors; made once."""
        found = Columns(
            np.array(self.arrivals_s, dtype=np.float64),
            np.array(self.prompt_tokens, dtype=np.int64),
            np.array(self.output_tokens, dtype=np.int64),
        )
        for column in (found.arrivals_s, found.prompt_tokens, found.output_tokens):
            column.flags.writeable = False
        return found

    @property
    def rate_rps(self) -> float:
        """Mean rate at which it was recorded."""
        return (len(self.arrivals_s) - 1) / self.arrivals_s[-1]

    @property
    def longest(self) -> int:
        """Index of the request that needs the most context, the first of its kind."""
        return int(np.argmax(self.columns.prompt_tokens + self.columns.output_tokens))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the three columns."""
        rows = [self.arrivals_s, self.prompt_tokens, self.output_tokens]
        return f"sha256:{hashlib.sha256(json.dumps(rows).encode()).hexdigest()}"

    @property
    def facts(self) -> dict[str, Any]:
        """What names and sums it up in a record, without its rows."""
        prompt, output = self.columns.prompt_tokens, self.columns.output_tokens
        return {
            "source": self.source,
            "digest": self.digest,
            "requests": len(self.arrivals_s),
            "span_s": self.arrivals_s[-1],
            "mean_prompt_tokens": round(float(prompt.mean()), 1),
            "mean_output_tokens": round(float(output.mean()), 1),
        }


class Workload(Spec):
    """Lengths in tokens of the served model's tokenizer; arrivals of the open-loop probes.

    ``prefix_tokens`` of every prompt are the same for all requests (a system prompt); the rest
    of a prompt is never sent twice within a probe unless ``distinct_prompts`` says so.
    """

    prompt_tokens: Length = Length.model_validate(512)
    """Prompt length, the shared prefix included."""
    output_tokens: Length = Length.model_validate(128)
    """Output length; it is enforced (the end-of-sequence token is ignored)."""
    prefix_tokens: int = Field(default=0, ge=0)
    distinct_prompts: int | None = Field(default=None, ge=1)
    """Different prompts in a probe, used in turn; None: all differ."""
    arrivals: Arrivals = "poisson"
    burstiness: float = Field(default=1.0, gt=0)
    """Shape of gamma arrivals: 1 is Poisson, below 1 comes in bursts, above 1 is more even."""
    trace: str | None = None
    """File with arrival, input and output length of each request; arrivals: trace replays it at
    the offered rate, other arrivals take only its lengths."""
    seed: int = Field(default=0, ge=0)

    @field_validator("trace")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("an empty file name")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.arrivals == "trace" and self.trace is None:
            raise ValueError("arrivals: trace needs trace: the file to replay")
        given = [
            name
            for name in ("prompt_tokens", "output_tokens")
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.trace is not None and given:
            raise ValueError(f"the trace gives the lengths; leave out {' and '.join(given)}")
        if self.burstiness != 1.0 and self.arrivals != "gamma":
            raise ValueError(f"burstiness belongs to arrivals: gamma, not to {self.arrivals}")
        if self.trace is None and self.prefix_tokens >= self.prompt_tokens.low:
            raise ValueError(
                f"prefix_tokens ({self.prefix_tokens}) is part of prompt_tokens "
                f"({self.prompt_tokens}) and must be smaller than the shortest"
            )
        return self

    @property
    def total_tokens(self) -> int:
        """Context that the longest request needs; of a trace, see ``with_lengths_of``."""
        return self.prompt_tokens.high + self.output_tokens.high

    def with_lengths_of(self, trace: Trace) -> Workload:
        """The same with the range and the mean of the trace's lengths: to plan with, not to draw.

        Raises:
            SpecError: the shared prefix is not shorter than the trace's shortest prompt.
        """
        prompt, output = trace.columns.prompt_tokens, trace.columns.output_tokens
        if self.prefix_tokens >= prompt.min():
            row = int(np.argmin(prompt))
            raise SpecError(
                f"workload.prefix_tokens: {self.prefix_tokens} shared tokens must be fewer than "
                f"every prompt has, but request {row + 1} of {trace.source} has {prompt[row]}; "
                "take a shorter prefix, or leave the short requests out of the trace"
            )
        return self.model_copy(
            update={"prompt_tokens": _range(prompt), "output_tokens": _range(output)}
        )

    def __str__(self) -> str:
        shared = f" ({self.prefix_tokens} shared)" if self.prefix_tokens else ""
        sizes = f"{self.prompt_tokens} prompt{shared} + {self.output_tokens} output tokens"
        if self.trace and self.prompt_tokens == type(self).model_fields["prompt_tokens"].default:
            sizes = f"prompts{shared} and outputs"  # the trace was not read yet
        kind = f"gamma ({self.burstiness:g})" if self.arrivals == "gamma" else self.arrivals
        source = f" (requests of {self.trace})" if self.trace else ""
        return f"{sizes}, {kind} arrivals{source}"


def _range(values: NDArray[np.int64]) -> Length:
    # not validated: the mean of recorded lengths is not that of a uniform distribution
    return Length.model_construct(
        distribution="uniform",
        mean=float(values.mean()),
        low=int(values.min()),
        high=int(values.max()),
    )
