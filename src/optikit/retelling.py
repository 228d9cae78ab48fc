"""Tells the tracker of jobs again, from their archives: it was down, or there is another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optikit.archive import JobArchive
from optikit.errors import OptikitError
from optikit.spec.record import Certificate, PublishRecord
from optikit.stages._projection import told
from optikit.stages.base import Inputs
from optikit.stages.publish import recipe_of
from optikit.trackers.base import Tracker

__all__ = ["Retold", "tell_again"]


@dataclass(frozen=True)
class Retold:
    """What became of one job."""

    job_id: str
    version: str | None = None
    """Of the model; None: it has none."""
    left_out: str | None = None
    """Why there is nothing to tell; None: it was told."""


def tell_again(archive: JobArchive, tracker: Tracker) -> Retold:
    """What publish told the tracker, once more; a second time adds nothing. Reads the archive only.

    Raises:
        OptikitError: the tracker does not answer, or the archive cannot be read.
    """
    plan, records = archive.plan(), archive.records()
    published = records.get("publish")
    if not isinstance(published, PublishRecord):
        return Retold(archive.job_id, left_out="it has not published")
    inputs = Inputs()
    for name in plan.flow.stages:
        if name in records and name != "publish":
            inputs = inputs.plus(records[name])
    chosen = inputs.chosen()
    if chosen is not None:
        plan = plan.going_on(chosen.recipe)
    bundle = Path(published.bundle) if published.bundle else None
    certificate = None
    if bundle is not None and published.certificate_digest is not None:
        certificate = _certificate(bundle)
    version = told(
        tracker,
        archive.home,
        archive.job_id,
        inputs,
        plan,
        published.model_name,
        recipe_of(inputs),
        bundle if published.model_version else None,
        certificate,
        published.address,
    )
    return Retold(archive.job_id, version)


def _certificate(bundle: Path) -> Certificate:
    file = bundle / "certificate.json"
    try:
        return Certificate.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise OptikitError(f"{file} cannot be read: {str(error)[:200]}") from None
