"""The folder of one measurement without a job.

::

    HOME/measurements/ID/
      request.json         what was asked; no key is ever in it
      journal.jsonl        one line an event: begun, server, probe, ended
      probe-NN.jsonl       a line a request
      result.json          what ``--json`` prints
      certificate.json     a benchmark's; a verification has none
      *.svg                plots, where matplotlib is installed
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from optikit.journal import Journaled, write_json
from optikit.spec.versions import SCHEMAS

__all__ = ["MeasurementArchive", "measurements"]

_ID = re.compile(r"m[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


@dataclass(frozen=True)
class MeasurementArchive(Journaled):
    """One measurement's folder."""

    home: Path
    measurement_id: str

    @classmethod
    def create(
        cls, home: Path, kind: Literal["benchmark", "verify"], request: dict[str, Any]
    ) -> MeasurementArchive:
        """Open a new measurement; ``request`` is on disk before this returns."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        archive = cls(home.resolve(), f"m{stamp}-{secrets.token_hex(3)}")
        archive.root.mkdir(parents=True)
        write_json(archive.root / "request.json", {"kind": kind, **request})
        archive.event("begun", measured=kind, schemas=SCHEMAS)
        return archive

    @property
    def root(self) -> Path:
        """The measurement's folder."""
        return self.home / "measurements" / self.measurement_id

    @property
    def certificate(self) -> Path:
        """Where its certificate lies, if it has one."""
        return self.root / "certificate.json"


def measurements(home: Path) -> list[MeasurementArchive]:
    """All measurements under a home folder, oldest first."""
    root = home.resolve() / "measurements"
    found = [
        MeasurementArchive(home.resolve(), path.name)
        for path in (root.iterdir() if root.is_dir() else ())
        if _ID.fullmatch(path.name) and (path / "request.json").exists()
    ]
    return sorted(found, key=lambda archive: (archive.created(), archive.measurement_id))
