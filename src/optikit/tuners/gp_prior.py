"""Begins with the prediction and learns where it is wrong: Gaussian processes on the residuals.

The model is in ``_residuals.py``; here it is asked, and what was asked and told is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from optikit.core.space import Point, PointKey, Space, key_of
from optikit.errors import BadInput
from optikit.tuners._candidates import Asked, Candidates
from optikit.tuners._grid import Told, not_again
from optikit.tuners._residuals import Fact, ResidualModel
from optikit.tuners.base import Outcome, Prior, Seen, Study

__all__ = ["TUNER"]

_FOREIGN_NOISE = 0.4
"""Added to what another job saw, times how unlike it is."""


class GpPrior:
    """The default where predictions can be made."""

    name = "gp_prior"
    needs_prior = True
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
        """A new search, or the one that ``storage`` (a folder) holds from before.

        Raises:
            BadInput: no prior was given.
            ArchiveError: a line of the folder's files cannot be read.
        """
        if prior is None:
            raise BadInput("the tuner gp_prior needs predictions; choose the tuner tpe without")
        return ResidualStudy(space, seed, storage, prior, known)


class ResidualStudy:
    """Results are kept in ``told.jsonl``, what was asked for in ``asked.jsonl``."""

    def __init__(
        self, space: Space, seed: int, storage: Path, prior: Prior, known: Sequence[Seen]
    ) -> None:
        self._names = {dimension.name for dimension in space.dimensions}
        self._told, self._asked = Told(storage), Asked(storage)
        self._never = not_again(known)
        self._known = [
            Fact(seen.point, seen.outcome, _FOREIGN_NOISE * (1 - min(seen.weight, 1.0)))
            for seen in known
        ]
        self._candidates = Candidates(space, seed)
        self._model = ResidualModel(space, prior)
        self._running: dict[PointKey, Point] = {}
        self._again = deque(p for k, p in self._asked.before.items() if not self._seen(k))

    def ask(self) -> Point | None:
        """What an earlier run left unfinished; else the point that promises most."""
        while self._again:
            point = self._again.popleft()
            if not self._seen(key_of(point)):
                self._running[key_of(point)] = point
                return point
        chosen = self._chosen()
        if chosen is not None:
            self._asked.add(chosen)
            self._running[key_of(chosen)] = chosen
        return chosen

    def tell(self, point: Point, outcome: Outcome) -> None:
        """Keep the result; the same result of the same point again changes nothing."""
        self._running.pop(key_of(point), None)
        self._told.add(point, outcome)

    def _seen(self, key: PointKey) -> bool:
        return key in self._told or key in self._running or key in self._never

    def _chosen(self) -> Point | None:
        facts = self._facts()
        winner = max((f for f in facts if f.holds), key=lambda f: f.value, default=None)
        if winner is not None:
            self._candidates.near(winner.point)
        left = [p for k, p in self._candidates.points.items() if not self._seen(k)]
        if not left:
            while (point := self._candidates.another()) is not None:
                if not self._seen(key_of(point)):
                    return point
            return None
        running = list(self._running.values())
        return left[int(np.argmax(self._model.scores(left, facts, running)))]

    def _facts(self) -> list[Fact]:
        """This search's results, and of others' what it has not measured itself."""
        own = [Fact(dict(key), outcome) for key, outcome in self._told.outcomes.items()]
        others = [fact for fact in self._known if key_of(fact.point) not in self._told]
        return [f for f in own + others if f.point.keys() <= self._names]


TUNER = GpPrior()
