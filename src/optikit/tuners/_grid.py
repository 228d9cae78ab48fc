"""What the samplers share: the finite grid of points, and a search that walks a fixed order."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from optikit.errors import ArchiveError
from optikit.spec.plan import ResolvedSpace
from optikit.tuners.base import Point

__all__ = ["DIMENSIONS", "Key", "ListedStudy", "grid", "key_of", "point_of_key"]

DIMENSIONS = tuple(ResolvedSpace.model_fields)
Key = tuple[int, ...]
"""A point's values in the order of DIMENSIONS."""


def grid(space: ResolvedSpace) -> list[Key]:
    """All points; the last dimension changes fastest.

    >>> space = ResolvedSpace(
    ...     tensor_parallel=(1, 2), max_num_seqs=(8,), max_num_batched_tokens=(64, 128)
    ... )
    >>> grid(space)
    [(1, 8, 64), (1, 8, 128), (2, 8, 64), (2, 8, 128)]
    """
    return list(itertools.product(*(getattr(space, name) for name in DIMENSIONS)))


def key_of(point: Point) -> Key:
    """A point as a key.

    Raises:
        KeyError: a dimension is missing.
    """
    return tuple(point[name] for name in DIMENSIONS)


def point_of_key(key: Key) -> dict[str, int]:
    """A key as a point."""
    return dict(zip(DIMENSIONS, key, strict=True))


class ListedStudy:
    """Asks for the points of a list in its order; results do not change the order.

    What was told is kept in ``told.jsonl`` of the storage folder, one line a result. A point that
    was asked but never told (the process died) is asked again by the next start.
    """

    def __init__(self, order: Sequence[Key], storage: Path) -> None:
        self._order = order
        storage.mkdir(parents=True, exist_ok=True)
        self._file = storage / "told.jsonl"
        self._told = dict(_read(self._file))
        self._seen = set(self._told)

    def ask(self) -> Point | None:
        """The first point of the list that was neither asked nor told."""
        key = next((key for key in self._order if key not in self._seen), None)
        if key is None:
            return None
        self._seen.add(key)
        return point_of_key(key)

    def tell(self, point: Point, fitness: float | None) -> None:
        """Keep the result; the same result of the same point again changes nothing."""
        key = key_of(point)
        self._seen.add(key)
        if key in self._told and self._told[key] == fitness:
            return
        self._told[key] = fitness
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"point": point_of_key(key), "fitness": fitness}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _read(file: Path) -> Iterator[tuple[Key, float | None]]:
    if not file.exists():
        return
    lines, end, torn = file.read_bytes().rpartition(b"\n")
    if torn:  # by a crash; its trial is in the archive and will be told again
        os.truncate(file, len(lines) + len(end))
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            row = json.loads(line)
            yield key_of(row["point"]), row["fitness"]
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"{file} line {number} cannot be read: {error}") from None
