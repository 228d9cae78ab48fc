"""Service-level objectives: bounds on percentiles of latency, all of which must hold."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_serializer, model_validator

from optikit.spec.base import Spec

__all__ = ["Bound", "Metric", "Slo"]

Metric = Literal["e2e", "ttft", "tpot"]
_METRICS = ("e2e", "ttft", "tpot")
_FORM = re.compile(
    r"^\s*p(?P<percentile>\d+(?:\.\d+)?)\s*\(\s*(?P<metric>\w+)\s*\)\s*<=?\s*"
    r"(?P<value>-?\d+(?:\.\d+)?)\s*(?P<unit>ms|s)\s*$",
    re.IGNORECASE,
)


class Bound(Spec):
    """``p<percentile>(<metric>) <= <limit>``.

    Metrics: ``e2e`` request sent to last token; ``ttft`` sent to first token; ``tpot`` mean time
    per output token after the first. All in milliseconds.
    """

    metric: Metric
    percentile: float = Field(gt=0, lt=100)
    limit_ms: float = Field(gt=0)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = _FORM.match(data)
        if match is None:
            raise ValueError(
                f"cannot read the bound {data!r}; write it as 'p95(e2e) <= 500 ms' "
                f"with a metric of {', '.join(_METRICS)} and a unit of ms or s"
            )
        metric = match["metric"].lower()
        if metric not in _METRICS:
            raise ValueError(f"unknown metric {metric!r} in {data!r}; known: {', '.join(_METRICS)}")
        limit = float(match["value"]) * (1000.0 if match["unit"].lower() == "s" else 1.0)
        if limit <= 0:
            raise ValueError(f"the bound {data!r} can never be met: its limit must be above 0")
        percentile = float(match["percentile"])
        if not 0 < percentile < 100:
            raise ValueError(f"the percentile in {data!r} must lie between 0 and 100")
        return {"metric": metric, "percentile": percentile, "limit_ms": limit}

    @model_serializer
    def __str__(self) -> str:
        return f"p{self.percentile:.15g}({self.metric}) <= {self.limit_ms:.15g} ms"


class Slo(Spec):
    """All bounds that must hold at once; none at all means throughput-oriented.

    >>> str(Slo.parse(["p95(e2e) <= 0.5 s"]))
    'p95(e2e) <= 500 ms'
    >>> str(Slo.parse([]))
    'none (highest sustained rate)'
    """

    bounds: tuple[Bound, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"bounds": (data,)}
        if isinstance(data, list | tuple):
            return {"bounds": tuple(data)}
        return {} if data is None else data

    @model_serializer
    def _as_list(self) -> list[str]:
        return [str(bound) for bound in self.bounds]

    def __str__(self) -> str:
        return ", ".join(map(str, self.bounds)) or "none (highest sustained rate)"
