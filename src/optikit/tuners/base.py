"""What the tune stage may ask of a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from optikit.spec.plan import ResolvedSpace

__all__ = ["Point", "Study", "Tuner"]

Point = Mapping[str, int]
"""One value for each dimension of the space: tensor_parallel, max_num_seqs, ..."""


class Study(Protocol):
    """One search. Larger fitness is better."""

    def ask(self) -> Point | None:
        """The next point, never one that was asked or told before; None: the space is used up."""

    def tell(self, point: Point, fitness: float | None) -> None:
        """The result of a point, asked for or not; None: the trial failed."""


class Tuner(Protocol):
    """Starts searches."""

    name: str

    def start(self, space: ResolvedSpace, seed: int, storage: Path) -> Study:
        """A new search, or the one that ``storage`` (a folder) holds from before."""
