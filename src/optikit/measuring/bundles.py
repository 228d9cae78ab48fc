"""Finds a job's bundle, proves that it is what was measured, and exports its server."""

from __future__ import annotations

import hashlib
from pathlib import Path

from optikit.archive import JobArchive, open_job
from optikit.errors import BadInput, SpecError, UnknownName
from optikit.exports import export_named
from optikit.exports._proof import must_be_deployable
from optikit.exports.base import DeploySettings
from optikit.measuring.certificates import read_certificate
from optikit.spec.bundle import Bundle, ServingFacts
from optikit.spec.record import Certificate, PublishRecord
from optikit.specfile import read_mapping

__all__ = ["export_bundle", "open_bundle"]

_SERVING, _PROOF = "serving.yaml", "certificate.json"


def open_bundle(what: str, home: Path) -> Bundle:
    """The bundle of a job, read from its folder.

    Args:
        what: a job's id, a unique beginning of it, ``last``, or a bundle's folder.

    Raises:
        UnknownName: no such job or folder; says the nearest ids.
        BadInput: the job has no bundle (yet), or the bundle is damaged, was changed since it was
            published, or its two files contradict each other.
    """
    folder = Path(what)
    if (folder / _SERVING).is_file():
        return _read(folder.absolute())
    if folder.exists():
        raise BadInput(f"{what} is no bundle: it has no {_SERVING}; give a job's id or a bundle")
    if len(folder.parts) > 1:
        raise UnknownName(f"no bundle at {what}: there is no such folder")
    archive = open_job(home, what)
    bundle = _folder_of(archive)
    published = archive.of_kind("published")
    recorded = published[-1].get("files") if published else None
    if isinstance(recorded, dict):
        for name in (_SERVING, _PROOF):
            if recorded.get(name) != _digest(bundle / name):
                raise BadInput(
                    f"{bundle / name} is not what job {archive.job_id} published: it was changed "
                    "since, so that nothing certified is left to export; put back what was "
                    "published, or run the job again"
                )
    return _read(bundle)


def export_bundle(
    name: str,
    what: str,
    home: Path,
    settings: DeploySettings | None = None,
    allow_uncertified: bool = False,
) -> str:
    """The server of a bundle in another system's words; the file's text.

    Args:
        name: of the export: ``kubernetes``.
        what: as ``open_bundle`` takes it.

    Raises:
        BadInput: no bundle, one that is simulated or not certified, or that the system cannot
            serve.
    """
    export = export_named(name)
    if export.of != "bundle":
        raise BadInput(f"{name} writes a job spec, not a bundle; give it JOB.yaml")
    settings = settings or DeploySettings()
    unread = sorted(settings.model_fields_set - export.reads)
    if unread:
        words = ", ".join(f"--{key.replace('_', '-')}" for key in unread)
        raise BadInput(f"{words} means nothing to the target {name}; leave it out")
    bundle = open_bundle(what, home)
    must_be_deployable(bundle, allow_uncertified)
    return export.render(bundle, settings)


def _folder_of(archive: JobArchive) -> Path:
    record = archive.records().get("publish")
    if not isinstance(record, PublishRecord):
        flow = archive.plan().flow
        if "publish" not in flow.stages:
            raise BadInput(
                f"job {archive.job_id} has no bundle: the flow {flow.name} publishes none; run one "
                "that does"
            )
        raise BadInput(
            f"job {archive.job_id} has published nothing yet; `optikit status {archive.job_id}` "
            "says how far it is"
        )
    if record.bundle is None:
        raise BadInput(
            f"job {archive.job_id} has no bundle: nothing of it can be deployed; "
            f"`optikit show {archive.job_id}` says why"
        )
    bundle = Path(record.bundle)
    if not (bundle / _SERVING).is_file():
        raise BadInput(
            f"the bundle of job {archive.job_id} is gone from {bundle}; where it was brought "
            "elsewhere, give the folder in which it lies now"
        )
    return bundle


def _agree(facts: ServingFacts, certificate: Certificate) -> bool:
    """Whether the two speak of one server."""
    on = facts.devices
    said: tuple[object, ...] = (facts.arguments, facts.serving, on.sku.value, on.used)
    said += (facts.engine.version, facts.status, facts.simulated)
    proven: tuple[object, ...] = (certificate.command, certificate.serving, certificate.sku)
    proven += (certificate.serving.devices if certificate.serving else None,)
    proven += (certificate.engine_version, certificate.status, certificate.simulated)
    return said == proven


def _digest(file: Path) -> str | None:
    if not file.is_file():
        return None
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _read(folder: Path) -> Bundle:
    """The bundle in ``folder``; what was served and what was certified must be the same."""
    try:
        facts = ServingFacts.parse(
            read_mapping(folder / _SERVING, "serving facts"), str(folder / _SERVING)
        )
    except SpecError as error:
        raise BadInput(f"the bundle is damaged, or of another OptiKIT: {error}") from None
    proof = folder / _PROOF
    certificate = read_certificate(proof) if proof.exists() else None
    if certificate is None and facts.status != "not measured":
        raise BadInput(f"{folder / _SERVING} says {facts.status}, but there is no {proof}")
    if certificate is not None and not _agree(facts, certificate):
        raise BadInput(
            f"{folder / _SERVING} and {_PROOF} beside it differ: what would be served is not what "
            "was certified; take the bundle as it was published"
        )
    return Bundle(
        folder=str(folder),
        facts=facts,
        certificate=certificate,
        certificate_digest=_digest(proof),
    )
