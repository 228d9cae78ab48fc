"""Points drawn uniformly without replacement: the yardstick for every other sampler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optikit.core.space import Space
from optikit.tuners._grid import ListedStudy, shuffled, walk
from optikit.tuners.base import Prior, Seen, Study

__all__ = ["TUNER"]


class Random:
    """A permutation of the legal points that the seed alone decides."""

    name = "random"
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
        return ListedStudy(walk(space, shuffled(space.combinations, seed)), storage, known)


TUNER = Random()
