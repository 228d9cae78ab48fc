"""Points drawn uniformly without replacement: the yardstick for every other sampler."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optikit.spec.plan import ResolvedSpace
from optikit.tuners._grid import ListedStudy, grid
from optikit.tuners.base import Study

__all__ = ["TUNER"]


class Random:
    """A permutation of the grid that the seed alone decides."""

    name = "random"

    def start(self, space: ResolvedSpace, seed: int, storage: Path) -> Study:
        """A new search, or the one that ``storage`` (a folder) holds from before."""
        points = grid(space)
        order = np.random.default_rng(seed).permutation(len(points))
        return ListedStudy([points[index] for index in order], storage)


TUNER = Random()
