"""Fetch: the model and the dataset by content, checked, in the content-addressed store."""

from __future__ import annotations

import re
from pathlib import Path

from optikit.core.diskneed import Need
from optikit.errors import BadInput
from optikit.journal import patiently
from optikit.pools.base import Resources
from optikit.spec.permit import Permit
from optikit.spec.plan import Plan
from optikit.spec.record import FetchRecord
from optikit.spec.simulated import SimulatedModel
from optikit.stages._room import room_for_fetch
from optikit.stages._simulated import keep
from optikit.stages.base import Inputs, Tools, attempt
from optikit.stores.base import path_of

__all__ = ["STAGE", "licence_of"]

_LICENCE_FILE = re.compile(r"^(licen[cs]e|copying)(\.(txt|md))?$", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---\s*\n(?P<yaml>.*?)\n---\s*(\n|\Z)", re.DOTALL)
_LICENCE_KEY = re.compile(r"""^license:[ \t]*["']?(?P<name>[^"'\n#]+)""", re.MULTILINE)
_LONGEST = 200


class Fetch:
    """A dataset is taken only where a recipe calibrates on it or the quality gate compares on it.

    A simulated job needs no weights: what it takes is the shape that the plan found.
    """

    name = "fetch"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> FetchRecord:
        """Verify and store.

        Raises:
            UnknownName: the model is not registered.
            BadInput: the folder is no whole model, or is not what was registered.
            UnsafeInput: pickle weights, code that is not permitted, or links that leave the folder
                or the site's roots.
            DatasetError: no dataset there.
            DiskFull: the disk has less room than they take.
        """
        if plan.simulated:
            described = SimulatedModel(shape=plan.shape, recipe=None, sku=plan.sku)
            return FetchRecord(
                inputs_digest=inputs_digest,
                model=keep(tools.journal.home, described),
                dataset=None,
            )
        asked = plan.job.model
        digest = None
        if asked.uri is not None:
            folder = path_of(asked.uri).absolute()
        else:
            registered = tools.models.find(asked.name, asked.version)
            folder, digest = Path(registered.path), registered.digest
        dataset = None
        if _reads_text(plan) and plan.job.dataset is not None:
            dataset = plan.job.dataset.path
            if "://" not in dataset:  # absolute here: a worker may stand in another folder
                dataset = str(Path(dataset).expanduser().absolute())
        room_for_fetch(tools, _needs(tools, folder, dataset, plan.permit))
        record, attempts = attempt(
            tools,
            "fetch",
            Resources(cpus=1.0),
            _fetch_here,
            tools.without_pool(),
            folder,
            digest,
            dataset,
            plan.job.dataset.split if plan.job.dataset else "",
            plan.permit,
            inputs_digest,
        )
        return record.model_copy(update={"attempts": attempts})


def _reads_text(plan: Plan) -> bool:
    """Whether a recipe calibrates, or the quality gate compares on texts of the dataset."""
    gate = plan.job.quality
    compares = gate.divergence_documents > 0 and gate.divergence_text == "dataset"
    calibrates = any(option.calibration_samples for option in plan.options)
    return calibrates or ("evaluate" in plan.flow.stages and compares)


def _needs(tools: Tools, folder: Path, dataset: str | None, permit: Permit) -> list[Need]:
    """What has to be copied into the store."""
    size = tools.models.missing_bytes(folder, permit=permit)
    needs = [Need("artifacts", size, f"the model {folder}")]
    if dataset is not None and "://" not in dataset:
        size = tools.models.missing_bytes(Path(dataset), dataset=True, permit=permit)
        needs.append(Need("artifacts", size, f"the dataset {dataset}"))
    return needs


def _fetch_here(
    tools: Tools,
    folder: Path,
    digest: str | None,
    dataset: str | None,
    split: str,
    permit: Permit,
    inputs_digest: str,
) -> FetchRecord:
    """In the worker: read, hash, copy what is not there yet."""
    model = patiently(lambda: tools.models.take(folder, permit=permit), f"store the model {folder}")
    if digest is not None and model.digest != digest:
        raise BadInput(
            f"{folder} is registered with {digest[:19]}... but holds {model.digest[:19]}...; "
            "register the model again"
        )
    rows = None
    if dataset is not None:
        source = dataset
        rows = patiently(
            lambda: tools.models.take_dataset(source, split, permit=permit),
            f"store the dataset {dataset}",
        )
    return FetchRecord(
        inputs_digest=inputs_digest,
        model=model,
        dataset=rows,
        licence=licence_of(Path(model.path)),
    )


def licence_of(folder: Path) -> str | None:
    """The licence that a model folder states: its README's front matter, else the first line of
    its licence file; None where it states none."""
    readme = folder / "README.md"
    if readme.is_file():
        front = _FRONT_MATTER.match(readme.read_text(encoding="utf-8", errors="replace"))
        named = _LICENCE_KEY.search(front["yaml"]) if front else None
        if named and named["name"].strip():
            return named["name"].strip()[:_LONGEST]
    for file in sorted(folder.iterdir()):
        if file.is_file() and _LICENCE_FILE.match(file.name):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            first = next((line.strip(" #\t") for line in lines if line.strip(" #\t")), None)
            if first:
                return first[:_LONGEST]
    return None


STAGE = Fetch()
