"""TPE that begins where the prediction sees the best configurations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from optikit.core.predict import Prediction
from optikit.core.space import Point, Space
from optikit.errors import BadInput
from optikit.tuners._optuna import OptunaStudy
from optikit.tuners.base import Prior, Seen, Study

__all__ = ["TUNER", "predicted_best"]

STARTS = 5
LOOKED_AT = 512
"""Points that are predicted to find them; of a larger space a sample."""
_OFF = 1.5
"""A prediction may be wrong by this factor: a degree that is not further behind is tried."""
_EQUAL = 0.98
"""Predictions this near to one another say nothing about which is better."""
_STARTUP = 2
"""Results with which the estimator speaks: the starts stand for the random points."""


class TpeWarm:
    """The predicted best points first, over the tensor-parallel degrees, then as ``tpe``."""

    name = "tpe_warm"
    needs_prior = True
    keeps_study = True

    def start(
        self,
        space: Space,
        seed: int,
        storage: Path,
        *,
        url: str | None = None,
        prior: Prior | None = None,
        known: Sequence[Seen] = (),
    ) -> Study:
        """A new search, or the one that ``storage`` (a folder) or ``url`` holds from before.

        Raises:
            BadInput: no prior was given.
        """
        if prior is None:
            raise BadInput("the tuner tpe_warm needs predictions; choose the tuner tpe without")
        return OptunaStudy(
            space,
            seed,
            storage,
            url=url,
            known=known,
            startup=_STARTUP,
            starts=lambda: predicted_best(space, prior, STARTS, seed),
        )


def predicted_best(space: Space, prior: Prior, count: int, seed: int) -> list[Point]:
    """The predicted best point, the best of each degree that is near it, then further near ones.

    Of points that are predicted to be equal, the one that lies furthest from those chosen.
    """
    points: list[Point] = list(space.points(LOOKED_AT, seed))
    value = [_value(prior.predict(point)) for point in points]
    places = np.array([space.features(point) for point in points])
    left = sorted(range(len(points)), key=lambda i: value[i], reverse=True)
    chosen: list[int] = []
    degrees: set[object] = set()
    for i in left:
        near = value[i] >= value[left[0]] - math.log(_OFF)
        if near and points[i].get("tensor_parallel") not in degrees and len(chosen) < count:
            degrees.add(points[i].get("tensor_parallel"))
            chosen.append(i)
    left = [i for i in left if i not in chosen]
    while left and len(chosen) < count:
        equal = [i for i in left if value[i] >= value[left[0]] + math.log(_EQUAL)]
        gaps = [np.linalg.norm(places[chosen] - places[i], axis=1).min() for i in equal]
        best = equal[int(np.argmax(gaps))]
        chosen.append(best)
        left.remove(best)
    return [points[i] for i in chosen]


def _value(expected: Prediction) -> float:
    """Logarithm of the rate per device; where none is, how near the limit, below every rate."""
    if expected.rate_per_device > 0:
        return math.log(expected.rate_per_device)
    return -1e6 + max(min(expected.margin, 0.0), -1e5)


TUNER = TpeWarm()
