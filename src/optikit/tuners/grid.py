"""Every point once, smallest values first: for spaces small enough to measure whole."""

from __future__ import annotations

from pathlib import Path

from optikit.spec.plan import ResolvedSpace
from optikit.tuners._grid import ListedStudy, grid
from optikit.tuners.base import Study

__all__ = ["TUNER"]


class Grid:
    """In the order of the space's values, the last dimension fastest; the seed has no meaning."""

    name = "grid"

    def start(self, space: ResolvedSpace, seed: int, storage: Path) -> Study:
        """A new search, or the one that ``storage`` (a folder) holds from before."""
        return ListedStudy(grid(space), storage)


TUNER = Grid()
