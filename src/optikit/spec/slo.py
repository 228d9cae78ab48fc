"""Service-level objectives: bounds on percentiles of latency, all of which must hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_serializer, model_validator

from optikit.spec.base import Spec

__all__ = ["Bound", "Goodput", "Limit", "Metric", "Slo"]

Metric = Literal["e2e", "ttft", "tpot", "itl"]
_METRICS = ("e2e", "ttft", "tpot", "itl")
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?"
_LIMIT = rf"(?P<value>-?{_NUMBER})\s*(?P<unit>ms|s)"
_FORM = re.compile(
    rf"^\s*p(?P<percentile>{_NUMBER})\s*\(\s*(?P<metric>\w+)\s*\)\s*<=?\s*{_LIMIT}\s*$",
    re.IGNORECASE,
)
_GOODPUT = re.compile(
    rf"^\s*goodput\s*\((?P<limits>[^)]*)\)\s*>=?\s*(?P<share>{_NUMBER})\s*%\s*$", re.IGNORECASE
)
_PART = re.compile(rf"^\s*(?P<metric>\w+)\s*<=?\s*{_LIMIT}\s*$", re.IGNORECASE)


def _metric(text: str, within: str) -> str:
    metric = text.lower()
    if metric not in _METRICS:
        raise ValueError(f"unknown metric {text!r} in {within!r}; known: {', '.join(_METRICS)}")
    return metric


def _limit_ms(match: re.Match[str], within: str) -> float:
    # in decimals: 0.29 s are 290 ms, not 289.99999999999994
    limit = float(Decimal(match["value"]) * (1000 if match["unit"].lower() == "s" else 1))
    if limit <= 0:
        raise ValueError(f"the bound {within!r} can never be met: its limit must be above 0")
    return limit


def _short(number: float) -> str:
    """As few digits as read back to the same number."""
    text = f"{number:.15g}"
    return text if float(text) == number else repr(number)


class Bound(Spec):
    """``p<percentile>(<metric>) <= <limit>``.

    Metrics: ``e2e`` request sent to last token; ``ttft`` sent to first token; ``tpot`` mean time
    per output token after the first; ``itl`` each gap between two tokens of a request, over all
    gaps of all requests. All in milliseconds.
    """

    metric: Metric
    percentile: float = Field(gt=0, lt=100)
    limit_ms: float = Field(gt=0)

    @classmethod
    def json_forms(cls, fields: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """As text."""
        return ({"type": "string", "examples": ["p95(e2e) <= 500 ms"]},)

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
        metric, limit = _metric(match["metric"], data), _limit_ms(match, data)
        percentile = float(match["percentile"])
        if not 0 < percentile < 100:
            raise ValueError(f"the percentile in {data!r} must lie between 0 and 100")
        return {"metric": metric, "percentile": percentile, "limit_ms": limit}

    @property
    def name(self) -> str:
        """What is bounded: ``p95(e2e)``."""
        return f"p{_short(self.percentile)}({self.metric})"

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What a request (for ``itl``: a gap) must keep to be no excess."""
        return (Limit(metric=self.metric, limit_ms=self.limit_ms),)

    @property
    def allowed(self) -> float:
        """Largest share of requests over the limit."""
        return 1 - self.percentile / 100

    @model_serializer
    def __str__(self) -> str:
        return f"{self.name} <= {_short(self.limit_ms)} ms"


class Limit(Spec):
    """One latency that a single request must keep."""

    metric: Metric
    limit_ms: float = Field(gt=0)

    def __str__(self) -> str:
        return f"{self.metric} <= {_short(self.limit_ms)} ms"


class Goodput(Spec):
    """``goodput(<metric> <= <limit>, ...) >= <share> %``: requests that keep all limits at once.

    As DistServe (OSDI 2024, section 1) counts it: the share of requests that meet every limit.
    """

    limits: tuple[Limit, ...] = Field(min_length=1)
    share_percent: float = Field(gt=0, lt=100)

    @classmethod
    def json_forms(cls, fields: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """As text."""
        return ({"type": "string", "examples": ["goodput(e2e <= 2 s) >= 95 %"]},)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = _GOODPUT.match(data)
        if match is None:
            raise ValueError(
                f"cannot read {data!r}; write it as 'goodput(e2e <= 2 s, ttft <= 200 ms) >= 95 %'"
            )
        limits = []
        for part in match["limits"].split(","):
            found = _PART.match(part)
            if found is None:
                raise ValueError(f"cannot read the limit {part.strip()!r} in {data!r}")
            metric, limit = _metric(found["metric"], data), _limit_ms(found, data)
            limits.append({"metric": metric, "limit_ms": limit})
        share = float(match["share"])
        if not 0 < share < 100:
            raise ValueError(f"the share in {data!r} must lie between 0 and 100 %")
        return {"limits": limits, "share_percent": share}

    @model_validator(mode="after")
    def _one_limit_each(self) -> Self:
        metrics = [limit.metric for limit in self.limits]
        if "itl" in metrics:
            raise ValueError("itl has many values a request; limit tpot in a goodput instead")
        twice = _repeated(metrics)
        if twice:
            raise ValueError(f"{self} limits {twice} twice; keep the stricter limit")
        return self

    @property
    def name(self) -> str:
        """What is bounded: ``goodput(e2e, ttft)``."""
        return f"goodput({', '.join(limit.metric for limit in self.limits)})"

    @property
    def allowed(self) -> float:
        """Largest share of requests that miss a limit."""
        return 1 - self.share_percent / 100

    @model_serializer
    def __str__(self) -> str:
        return f"goodput({', '.join(map(str, self.limits))}) >= {_short(self.share_percent)} %"


def _kind(data: Any) -> str:
    if isinstance(data, str):
        return "goodput" if data.lstrip().lower().startswith("goodput") else "bound"
    mapping = isinstance(data, dict) and "share_percent" in data
    return "goodput" if isinstance(data, Goodput) or mapping else "bound"


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


AnyBound = Annotated[
    Annotated[Bound, Tag("bound")] | Annotated[Goodput, Tag("goodput")], Discriminator(_kind)
]


class Slo(Spec):
    """All bounds that must hold at once; none at all means throughput-oriented.

    >>> str(Slo.parse(["p95(e2e) <= 0.5 s"]))
    'p95(e2e) <= 500 ms'
    >>> str(Slo.parse("goodput(ttft <= 50 ms, tpot <= 10 ms) >= 90%"))
    'goodput(ttft <= 50 ms, tpot <= 10 ms) >= 90 %'
    >>> str(Slo.parse([]))
    'none (highest sustained rate)'
    """

    bounds: tuple[AnyBound, ...] = ()

    @classmethod
    def json_forms(cls, fields: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """One bound, a list of them, or none."""
        bounds = fields["properties"]["bounds"]
        items = {"anyOf": bounds["items"].pop("oneOf")}  # a text may be read as either
        bounds["items"] = items
        return {"type": "string"}, {"type": "array", "items": items}, {"type": "null"}

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"bounds": (data,)}
        if isinstance(data, list | tuple):
            return {"bounds": tuple(data)}
        return {} if data is None else data

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = _repeated(bound.name for bound in self.bounds)
        if twice:
            found = " and ".join(repr(str(b)) for b in self.bounds if b.name == twice)
            raise ValueError(f"{twice} is bounded twice: {found}; keep the stricter one")
        return self

    @property
    def percentiles(self) -> tuple[Bound, ...]:
        """The bounds on a percentile of one metric."""
        return tuple(bound for bound in self.bounds if isinstance(bound, Bound))

    @property
    def metrics(self) -> frozenset[Metric]:
        """Every metric that some bound reads."""
        return frozenset(limit.metric for bound in self.bounds for limit in bound.limits)

    @model_serializer
    def _as_list(self) -> list[str]:
        return [str(bound) for bound in self.bounds]

    def __str__(self) -> str:
        return ", ".join(map(str, self.bounds)) or "none (highest sustained rate)"
