"""What a trial's server said of itself: the kept file by digest, and its figures derived again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from optikit.core.recheck import differences
from optikit.core.scrapes import FILE, MOST_BYTES, metrics_of, unpacked
from optikit.errors import ArchiveError
from optikit.reports._check_trials import Counted, as_findings
from optikit.spec.finding import Finding
from optikit.spec.record import Trial

__all__ = ["check_scrapes"]


def check_scrapes(folder: Path, where: str, trial: Trial, counted: Counted) -> Iterator[Finding]:
    """What of a trial's engine metrics does not follow from its file.

    Args:
        folder: the trial's.
        where: for the findings.
    """
    said = trial.engine_metrics
    if said is None:
        return
    where = f"{where}/{FILE}"
    counted.files += 1
    try:
        with (folder / FILE).open("rb") as file:
            data = file.read(2 * MOST_BYTES)
    except FileNotFoundError:
        yield Finding(kind="missing", where=where, recorded=said.digest)
        return
    except OSError as error:
        yield Finding(kind="unreadable", where=where, recorded=str(error)[:200])
        return
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if digest != said.digest:
        yield Finding(kind="digest", where=where, recorded=said.digest, derived=digest)
        return
    try:
        derived = metrics_of(unpacked(data, where), digest)
    except ArchiveError as error:
        yield Finding(kind="unreadable", where=where, recorded=str(error)[:300])
        return
    yield from as_findings(where, list(differences(said, derived)))
