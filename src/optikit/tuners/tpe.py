"""Tree-structured Parzen estimator, the sampler of the talk (Optuna's)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optikit.core.space import Space
from optikit.tuners._optuna import OptunaStudy
from optikit.tuners.base import Prior, Seen, Study

__all__ = ["TUNER"]


class Tpe:
    """Random points first, then those that look most like the best ones seen."""

    name = "tpe"
    needs_prior = False
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
        """A new search, or the one that ``storage`` (a folder) or ``url`` holds from before."""
        return OptunaStudy(space, seed, storage, url=url, known=known)


TUNER = Tpe()
