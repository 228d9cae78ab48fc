"""Which points a model-based search chooses among, and which it asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from optikit.core.space import Point, PointKey, Space, key_of
from optikit.errors import ArchiveError
from optikit.journal import append_line
from optikit.tuners._grid import shuffled, walk

__all__ = ["Asked", "Candidates"]

LOOKED_AT = 512
"""Points that are predicted and compared; of a larger space a sample, and what is near the best."""


class Asked:
    """Points that were asked for, kept in ``asked.jsonl`` of a folder.

    Raises:
        ArchiveError: a line cannot be read. (One that a crash has torn is cut off: nobody was told
            of its point.)
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "asked.jsonl"
        self.before: dict[PointKey, Point] = dict(_read(self._file))
        """In the order in which an earlier run asked for them."""

    def add(self, point: Point) -> None:
        """Keep it before anybody starts it."""
        append_line(self._file, (json.dumps(dict(point)) + "\n").encode())


def _read(file: Path) -> Iterator[tuple[PointKey, Point]]:
    if not file.exists():
        return
    lines, end, torn = file.read_bytes().rpartition(b"\n")
    if torn:
        os.truncate(file, len(lines) + len(end))
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            point: Point = json.loads(line)
            yield key_of(point), point
        except (ValueError, TypeError, AttributeError) as error:
            raise ArchiveError(f"{file} line {number} cannot be read: {error}") from None


class Candidates:
    """Legal points in an order that the seed decides, so that ties are broken by it.

    A space that is too large to be listed is sampled; :meth:`near` adds to the sample, and once
    it is used up :meth:`another` finds what is left, one by one.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        found = space.points(LOOKED_AT, seed)
        order = np.random.default_rng([seed, len(found)]).permutation(len(found))
        self.points: dict[PointKey, Point] = {key_of(found[i]): found[i] for i in order}
        self._sampled = space.combinations > LOOKED_AT
        self._rest = walk(space, shuffled(space.combinations, seed)) if self._sampled else iter(())

    def near(self, point: Point) -> None:
        """Take in the legal points that differ from this one by one step of one dimension."""
        if not self._sampled or not self._space.holds(point):
            return
        values = {d.name: point.get(d.name, d.values[0]) for d in self._space.dimensions}
        for dimension in self._space.dimensions:
            at = dimension.values.index(values[dimension.name])
            steps = (at - 1, at + 1) if dimension.ordered else range(len(dimension.values))
            for step in steps:
                if not 0 <= step < len(dimension.values):
                    continue
                moved = self._space.reduced({**values, dimension.name: dimension.values[step]})
                key = key_of(moved)
                if key not in self.points and self._space.why_not(moved) is None:
                    self.points[key] = moved

    def another(self) -> Point | None:
        """A legal point outside of what was listed; it may have been asked for."""
        return next(self._rest, None)
