"""A job's archive as it was at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from optikit.archive import JobArchive

__all__ = ["Moment"]


class Moment(JobArchive):
    """Its journal is read once: all that is made of it tells of one moment, and costs one reading.

    For who looks once; who follows a live job needs the archive itself.
    """

    @classmethod
    def of(cls, archive: JobArchive) -> Moment:
        """Of an archive, as it is now."""
        return cls(archive.home, archive.job_id)

    @cached_property
    def _lines(self) -> list[tuple[dict[str, Any], int]]:
        return list(super().events_and_ends())

    def events_and_ends(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """As they were when the first was asked for."""
        return (line for line in self._lines if line[1] > offset)
