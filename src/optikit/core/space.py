"""Points of a search space: which may be tried, and what serving config each stands for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from optikit.core.fit import fit, splits
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import Flag, ServingConfig
from optikit.spec.sku import SkuFacts
from optikit.spec.space import Dimension, ResolvedSpace

__all__ = [
    "Point",
    "PointKey",
    "Space",
    "apply_point",
    "each_value",
    "key_of",
    "point_of",
    "why_not",
]

Point = Mapping[str, Flag]
"""One value for each dimension that is active: ``{"tensor_parallel": 2, ...}``."""
PointKey = tuple[tuple[str, Flag], ...]
MOST_POINTS = 4096
"""More combinations than these are not walked, but sampled."""


def why_not(
    shape: ModelShape, recipe: RecipeFacts | None, sku: SkuFacts, serving: ServingConfig
) -> str | None:
    """Why a server of this config is not to be started; None: nothing known speaks against it."""
    if serving.devices > sku.devices:
        return "more devices than the SKU has"
    need = serving.max_num_seqs * (1 + serving.speculative_ngram)
    if serving.max_num_batched_tokens < need:
        return "max_num_batched_tokens below the tokens of one step of max_num_seqs requests"
    flags = {name.lstrip("-").replace("-", "_"): value for name, value in serving.extra_flags}
    whole_prompts = flags.get("enable_chunked_prefill") is False or flags.get(
        "no_enable_chunked_prefill"
    )
    if whole_prompts and serving.max_num_batched_tokens < serving.max_model_len:
        return "max_num_batched_tokens below max_model_len without chunked prefill"
    if splits(shape, serving.tensor_parallel):
        return "the model cannot be split over the devices"
    if not fit(shape, recipe, sku, serving).fits:
        return "weights, activations and the KV cache of one request exceed the memory"
    return None


@dataclass(frozen=True)
class Space:
    """Points that may be tried. A point lacks the dimensions whose condition it does not meet.

    Args:
        refuse: says why a serving config is not to be started, or None.
        default: what a point leaves as it is.
    """

    dimensions: tuple[Dimension, ...]
    refuse: Callable[[ServingConfig], str | None]
    default: ServingConfig

    @property
    def combinations(self) -> int:
        """Of all values; the illegal ones counted too."""
        return math.prod(len(dimension.values) for dimension in self.dimensions)

    def why_not(self, point: Point) -> str | None:
        """Why the point is not to be started; None: it may be."""
        return self.refuse(self.serving(point))

    def serving(self, point: Point) -> ServingConfig:
        """The default with the point's values."""
        return apply_point(self.default, point, self.dimensions)

    def point_of(self, serving: ServingConfig) -> dict[str, Flag]:
        """What a serving config has in the space's dimensions; it need not lie in the space."""
        return point_of(serving, self.dimensions)

    def holds(self, point: Point) -> bool:
        """Whether the point has a value of the space in each dimension that is active there."""
        active = [d for d in self.dimensions if _active(d, point)]
        return {d.name for d in active} == set(point) and all(
            point[d.name] in d.values for d in active
        )

    def reduced(self, row: Point) -> dict[str, Flag]:
        """A value for every dimension, less those whose condition the others do not meet.

        A dimension that depends on one that is left out is left out too.
        """
        left = dict(row)
        while out := [d.name for d in self.dimensions if d.name in left and not _active(d, left)]:
            for name in out:
                del left[name]
        return left

    def points(self, most: int = MOST_POINTS, seed: int = 0) -> list[dict[str, Flag]]:
        """The legal points in the order of the grid; a seeded sample where there are more.

        The last dimension changes fastest.
        """
        return [point for point in self._drawn(most, seed) if self.why_not(point) is None]

    def counted(self) -> tuple[int, dict[str, int]]:
        """How many points may be tried (scaled up from a sample where there are too many to be
        counted), and how many may not, by reason."""
        drawn = list(self._drawn(MOST_POINTS, 0))
        reasons = Counter(self.why_not(point) for point in drawn)
        legal = reasons.pop(None, 0)
        if self.combinations > MOST_POINTS:
            legal = round(legal / len(drawn) * self.combinations)
        return legal, {str(reason): count for reason, count in reasons.most_common()}

    def _drawn(self, most: int, seed: int) -> Iterator[dict[str, Flag]]:
        if self.combinations <= most:
            rows: Iterable[tuple[Flag, ...]] = product(*(d.values for d in self.dimensions))
        else:
            chance = np.random.default_rng(seed)
            sizes = [len(d.values) for d in self.dimensions]
            drawn = np.unique(chance.integers(sizes, size=(most, len(sizes))), axis=0)
            rows = (
                tuple(d.values[index] for d, index in zip(self.dimensions, row, strict=True))
                for row in drawn
            )
        seen: set[PointKey] = set()
        for row in rows:
            point = dict(zip((d.name for d in self.dimensions), row, strict=True))
            active = self.reduced(point)
            if len(active) < len(point):  # conditions make several rows one point
                if key_of(active) in seen:
                    continue
                seen.add(key_of(active))
            yield active

    def features(self, point: Point) -> NDArray[np.float64]:
        """Coordinates in [0, 1]: one of an ordered dimension, one a value of another.

        Ordered values lie at their logarithm where the dimension is by factors, else at their size;
        a dimension that is not active lies at 0.
        """
        found: list[float] = []
        for dimension in self.dimensions:
            value = point.get(dimension.name)
            if not dimension.ordered:
                found += [float(value == one) for one in dimension.values]
                continue
            places = [_place(one, dimension.log) for one in dimension.values]
            span = max(places) - min(places)
            at = min(places) if value is None else _place(value, dimension.log)
            found.append((at - min(places)) / span if span else 0.0)
        return np.array(found)


def each_value(space: ResolvedSpace, default: ServingConfig) -> Iterator[ServingConfig]:
    """The default with one value changed, for each value of each dimension: what an engine should
    look at before anything is started. Conditions are met."""
    for dimension in space.dimensions:
        for value in dimension.values:
            yield apply_point(
                default, {**dict(dimension.when), dimension.name: value}, space.dimensions
            )


def _place(value: Flag, log: bool) -> float:
    number = float(value)
    return math.log2(number) if log and number > 0 else number


def _active(dimension: Dimension, point: Point) -> bool:
    return all(point.get(name) == value for name, value in dimension.when)


def key_of(point: Point) -> PointKey:
    """A point as a key: equal points, equal keys."""
    return tuple(sorted(point.items()))


def point_of(serving: ServingConfig, dimensions: Iterable[Dimension]) -> dict[str, Flag]:
    """The searched dimensions of a serving config; a flag that it does not set is missing."""
    flags = {name.lstrip("-").replace("-", "_"): value for name, value in serving.extra_flags}
    return {
        d.name: flags[d.name] if d.extra else getattr(serving, d.name)
        for d in dimensions
        if not d.extra or d.name in flags
    }


def apply_point(
    serving: ServingConfig, point: Point, dimensions: Iterable[Dimension]
) -> ServingConfig:
    """The serving config with the searched dimensions replaced."""
    extra = {d.name for d in dimensions if d.extra}
    flags = {
        name: value
        for name, value in serving.extra_flags
        if name.lstrip("-").replace("-", "_") not in extra
    }
    flags |= {name: value for name, value in point.items() if name in extra}
    fields = {name: value for name, value in point.items() if name not in extra}
    given = {**serving.model_dump(), **fields, "extra_flags": tuple(sorted(flags.items()))}
    return ServingConfig.model_validate(given)
