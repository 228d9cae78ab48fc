"""What the samplers share: the rows of a space, what was told, and a search in a fixed order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from random import Random
from typing import Any

from optikit.core.space import Point, PointKey, Space, key_of
from optikit.errors import ArchiveError
from optikit.journal import append_line
from optikit.spec.serving import Flag
from optikit.tuners.base import Outcome, Seen

__all__ = ["ListedStudy", "Told", "not_again", "shuffled", "walk"]


def walk(space: Space, rows: Iterable[int]) -> Iterator[dict[str, Flag]]:
    """The legal points of a space, one after the other, none before it is needed.

    Args:
        rows: places in the grid of all combinations, ``0 .. space.combinations - 1``; the last
            dimension changes fastest.
    """
    for row in rows:
        place, at = row, {}
        for dimension in reversed(space.dimensions):
            place, at[dimension.name] = divmod(place, len(dimension.values))
        whole = {d.name: d.values[at[d.name]] for d in space.dimensions}
        point = space.reduced(whole)
        # conditions make several rows one point; the first of these rows stands for it
        if any(at[name] for name in whole.keys() - point.keys()):
            continue
        if space.why_not(point) is None:
            yield point


def shuffled(count: int, seed: int) -> Iterator[int]:
    """A uniform permutation of ``0 .. count - 1``, drawn as it is read.

    Fisher-Yates over a list that is never written out: only what was moved is kept.

    >>> sorted(shuffled(4, 0))
    [0, 1, 2, 3]
    """
    chance = Random(seed)
    moved: dict[int, int] = {}
    for last in range(count - 1, -1, -1):
        place = chance.randrange(last + 1)
        yield moved.get(place, place)
        end = moved.pop(last, last)
        if place != last:
            moved[place] = end


def not_again(known: Sequence[Seen]) -> set[PointKey]:
    """Points of this job that were measured before the search began: not to be measured again."""
    return {key_of(seen.point) for seen in known if seen.weight >= 1.0}


class Told:
    """Results by point, kept in ``told.jsonl`` of a folder, one line a result.

    Raises:
        ArchiveError: a line cannot be read. (One that a crash has torn is cut off: its trial is
            in the archive and will be told again.)
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "told.jsonl"
        self.outcomes: dict[PointKey, Outcome] = dict(_read(self._file))
        """The last word on each point, in the order in which they were first told."""

    def __contains__(self, key: object) -> bool:
        return key in self.outcomes

    def add(self, point: Point, outcome: Outcome) -> bool:
        """Keep a result; False where the very same was known of the point."""
        key = key_of(point)
        if self.outcomes.get(key) == outcome:
            return False
        row = {"point": dict(key), **asdict(outcome)}
        append_line(self._file, (json.dumps(row) + "\n").encode())
        self.outcomes[key] = outcome
        return True


class ListedStudy:
    """Asks for points in a given order; results do not change the order.

    A point that was asked but never told (the process died) is asked again by the next start.

    Args:
        known: what other searches saw; of them, only this job's own points are not asked.
    """

    def __init__(self, order: Iterator[Point], storage: Path, known: Sequence[Seen] = ()) -> None:
        self._order = order
        self._told = Told(storage)
        self._never = not_again(known)

    def ask(self) -> Point | None:
        """The next point of the order that was not told."""
        for point in self._order:
            key = key_of(point)
            if key not in self._told and key not in self._never:
                return point
        return None

    def tell(self, point: Point, outcome: Outcome) -> None:
        """Keep the result; the same result of the same point again changes nothing."""
        self._told.add(point, outcome)


_FIELDS = {field.name for field in fields(Outcome)}


def _read(file: Path) -> Iterator[tuple[PointKey, Outcome]]:
    if not file.exists():
        return
    lines, end, torn = file.read_bytes().rpartition(b"\n")
    if torn:
        os.truncate(file, len(lines) + len(end))
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            row: dict[str, Any] = json.loads(line)
            facts = {name: value for name, value in row.items() if name in _FIELDS}
            yield key_of(row["point"]), Outcome(**facts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArchiveError(f"{file} line {number} cannot be read: {error}") from None
