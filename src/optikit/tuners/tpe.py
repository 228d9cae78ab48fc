"""Tree-structured Parzen estimator, the sampler of the talk (Optuna's)."""

from __future__ import annotations

from pathlib import Path

from optikit.spec.plan import ResolvedSpace
from optikit.tuners._optuna import OptunaStudy
from optikit.tuners.base import Study

__all__ = ["TUNER"]


class Tpe:
    """Random points first, then those that look most like the best ones seen."""

    name = "tpe"

    def start(self, space: ResolvedSpace, seed: int, storage: Path) -> Study:
        """A new search, or the one that ``storage`` (a folder) holds from before."""
        return OptunaStudy(space, seed, storage)


TUNER = Tpe()
