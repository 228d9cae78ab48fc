"""Where a bundle comes from: an in-toto statement with SLSA's provenance, and the same for people.

Not signed: it says what a job knew, and binds it to content by digests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optikit.core.addresses import is_address
from optikit.core.licence import NOT_STATED
from optikit.spec.candidate import ArtifactRef, Candidate
from optikit.spec.plan import Plan
from optikit.spec.record import FetchRecord

__all__ = ["FOLDER_DIGEST", "Origin", "origin_rows", "origin_tags", "statement"]

FOLDER_DIGEST = "optikitFolderSha256"
"""SHA-256 over the sorted lines ``<relative path>\\0<size>\\0<SHA-256>`` of a folder's files."""
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:optikit:bundle:1"


@dataclass(frozen=True)
class Origin:
    """What went into a bundle."""

    plan: Plan
    fetched: FetchRecord
    made: Candidate | None
    """The candidate that ships; None: the model as it was fetched."""
    recipe: str

    @property
    def licence(self) -> str:
        """Of the source model."""
        return self.fetched.licence or NOT_STATED

    @property
    def model_address(self) -> str | None:
        """Where the source model came from, what moves in it resolved; None: a folder."""
        return self.fetched.model_address

    @property
    def dataset_name(self) -> str | None:
        """As a person calls it: an address, or the last part of a path; None: none was read."""
        asked = self.plan.job.dataset
        if asked is None or self.fetched.dataset is None:
            return None
        if self.fetched.dataset_address is not None or is_address(asked.path):
            return self.fetched.dataset_address or asked.path
        return asked.path.rstrip("/").rpartition("/")[2]

    @property
    def calibrated(self) -> Candidate | None:
        """The candidate, where it was calibrated on samples."""
        return self.made if self.made is not None and self.made.samples else None


def statement(
    origin: Origin,
    *,
    name: str,
    model: ArtifactRef,
    files: Mapping[str, str],
    licence_files: Sequence[str],
    job_id: str,
    finished: str,
    engine_version: str,
    packages: Mapping[str, str],
) -> dict[str, Any]:
    """The content of ``provenance.json``.

    Args:
        name: what the bundle is registered as.
        model: what ships.
        files: SHA-256 (hex) of the bundle's other files, by name.
        licence_files: of the source model, as they lie in the bundle.
        finished: ISO 8601.
        packages: versions of what made it, by distribution.
    """
    plan = origin.plan
    shipped = "simulated.json" if plan.simulated else "model"
    subject = [{"name": shipped, "digest": {_kind_of(plan): _hex(model.digest)}}]
    subject += [{"name": file, "digest": {"sha256": sha}} for file, sha in sorted(files.items())]
    job = plan.job
    asked = {
        "model": f"{job.model.name}:{job.model.version}",
        "flow": plan.flow.name,
        "recipe": origin.recipe,
        "sku": job.compute.sku.value,
        "slo": [str(bound) for bound in job.slo.bounds],
        "workload": job.workload.model_dump(mode="json", exclude={"trace"}),
        "publishedAs": name,
    }
    return {
        "_type": _STATEMENT,
        "subject": subject,
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": asked,
                "internalParameters": {"simulated": plan.simulated},
                "resolvedDependencies": [
                    _base_model(origin, licence_files),
                    *_dataset(origin),
                    {"name": job.engine.name, "annotations": {"version": engine_version}},
                    *(
                        {"name": package, "uri": f"pkg:pypi/{package}@{version}"}
                        for package, version in sorted(packages.items())
                    ),
                ],
            },
            "runDetails": {
                "builder": {"id": "urn:optikit", "version": _version(packages)},
                "metadata": {"invocationId": job_id, "finishedOn": finished},
            },
        },
    }


def _version(packages: Mapping[str, str]) -> dict[str, str]:
    return {"optikit": packages["optikit"]} if "optikit" in packages else {}


def _kind_of(plan: Plan) -> str:
    """A simulated model is one file."""
    return "sha256" if plan.simulated else FOLDER_DIGEST


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _base_model(origin: Origin, licence_files: Sequence[str]) -> dict[str, Any]:
    asked = origin.plan.job.model
    facts = {
        "role": "base model",
        "version": asked.version,
        "licence": origin.licence,
        "licenceFiles": list(licence_files),
        "bringsCode": origin.fetched.model.brings_code,
    }
    where = {"uri": origin.model_address} if origin.model_address else {}
    digest = {_kind_of(origin.plan): _hex(origin.fetched.model.digest)}
    return {"name": asked.name, **where, "digest": digest, "annotations": facts}


def _dataset(origin: Origin) -> list[dict[str, Any]]:
    """Absent where no text was read."""
    found, candidate = origin.fetched.dataset, origin.calibrated
    if found is None:
        return []
    facts: dict[str, Any] = {"role": "calibration" if candidate else "held-out text"}
    if candidate is not None:
        facts |= {
            "samples": candidate.samples,
            "sampling": candidate.sampling,
            "seed": candidate.seed,
            "sampleDigest": candidate.sample_digest,
        }
    if origin.plan.job.dataset is not None and origin.plan.job.dataset.text_field is not None:
        facts["textField"] = origin.plan.job.dataset.text_field
    name = origin.dataset_name or "dataset"
    where = {"uri": name} if is_address(name) else {}
    digest = {FOLDER_DIGEST: _hex(found.digest)}
    return [{"name": name, **where, "digest": digest, "annotations": facts}]


def origin_rows(origin: Origin) -> list[tuple[str, str]]:
    """The same for a person, short: what and value."""
    fetched = origin.fetched
    rows = [("made from", fetched.model.digest)]
    if origin.model_address:
        rows.append(("source", origin.model_address))
    if origin.dataset_name and fetched.dataset is not None:
        candidate = origin.calibrated
        use = f"{candidate.samples} samples" if candidate else "as held-out text alone"
        rows.append(("dataset", f"{origin.dataset_name}, {use}, {fetched.dataset.digest}"))
    return rows


def origin_tags(origin: Origin) -> dict[str, str]:
    """The same for a registry."""
    asked, fetched = origin.plan.job.model, origin.fetched
    found = {
        "licence": origin.licence,
        "base_model": f"{asked.name}:{asked.version}",
        "base_model_digest": fetched.model.digest,
        "base_model_address": origin.model_address,
        "dataset": origin.dataset_name,
        "dataset_digest": fetched.dataset.digest if fetched.dataset else None,
    }
    return {key: value for key, value in found.items() if value is not None}
