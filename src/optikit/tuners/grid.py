"""Every point once, smallest values first: for spaces small enough to measure whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optikit.core.space import Space
from optikit.tuners._grid import ListedStudy, walk
from optikit.tuners.base import Prior, Seen, Study

__all__ = ["TUNER"]


class Grid:
    """In the order of the space's values, the last dimension fastest; the seed has no meaning."""

    name = "grid"
    needs_prior = False
    keeps_study = False

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
        """A new search, or the one that ``storage`` (a folder) holds from before."""
        return ListedStudy(walk(space, range(space.combinations)), storage, known)


TUNER = Grid()
