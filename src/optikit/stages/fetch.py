"""Fetch: the model and the dataset by content, checked, in the content-addressed store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from optikit.core.addresses import is_address
from optikit.core.diskneed import Need
from optikit.core.elsewhere import sends_to
from optikit.errors import BadInput
from optikit.journal import patiently
from optikit.pools.base import Resources
from optikit.spec.elsewhere import RemoteModel
from optikit.spec.permit import Permit
from optikit.spec.plan import Plan
from optikit.spec.record import FetchRecord
from optikit.spec.simulated import SimulatedModel
from optikit.stages._licence import licence_of
from optikit.stages._room import room_for_fetch
from optikit.stages._simulated import keep
from optikit.stages.base import Inputs, Tools, attempt
from optikit.stores.base import Arrival, path_of

__all__ = ["STAGE"]

_HUB = "hf://"
"""A dataset of the hub is read row by row, not by its files."""
_TELL_S = 5.0


class Fetch:
    """A dataset is taken only where a recipe calibrates on it or the quality gate compares on it.

    A simulated job needs no weights: what it takes is the shape that the plan found. Of a server
    that somebody else runs it takes where that is, once the server answered a whole completion.
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
            SourceError: an address that does not answer.
            DiskFull: the disk has less room than they take.
        """
        if plan.simulated:
            described = SimulatedModel(shape=plan.shape, recipe=None, sku=plan.sku)
            return FetchRecord(
                inputs_digest=inputs_digest,
                model=keep(tools.journal.home, described),
                dataset=None,
            )
        if plan.elsewhere:
            return _looked_at(tools, plan, inputs_digest)
        asked = plan.job.model
        digest = None
        if asked.uri is not None:
            uri = asked.uri
            model = uri if is_address(uri) else str(path_of(uri).absolute())
        else:
            registered = tools.models.find(asked.name, asked.version)
            model, digest = registered.path, registered.digest
        dataset = None
        if _reads_text(plan) and plan.job.dataset is not None:
            dataset = plan.job.dataset.path
            if "://" not in dataset:  # absolute here: a worker may stand in another folder
                dataset = str(Path(dataset).expanduser().absolute())
        room_for_fetch(tools, _needs(tools, model, dataset, plan.permit))
        record, attempts = attempt(
            tools,
            "fetch",
            Resources(cpus=1.0),
            _fetch_here,
            tools.without_pool(),
            model,
            digest,
            dataset,
            plan.job.dataset.split if plan.job.dataset else "",
            plan.permit,
            inputs_digest,
        )
        return record.model_copy(update={"attempts": attempts})


def _looked_at(tools: Tools, plan: Plan, inputs_digest: str) -> FetchRecord:
    engine, target = plan.job.engine, sends_to(plan.job)
    described = RemoteModel(
        url=target.base_url,
        model=target.model,
        key=engine.key,
        roots=plan.permit.roots,
        api=target.api,
        prompts=target.prompts,
        enforce_length=target.enforce_length,
    )
    kept = keep(tools.journal.home, described)
    with tools.engine.serve(
        Path(kept.path),
        plan.serving,
        plan.sku.kind,
        vocab=plan.shape.vocab,
        log=tools.journal.folder() / "endpoint.log",
        start_timeout_s=engine.start_timeout_s,
        what=f"endpoint of job {tools.journal.job_id}",
    ) as server:
        tools.journal.event("endpoint", url=target.base_url, says=dict(server.says))
    return FetchRecord(inputs_digest=inputs_digest, model=kept, dataset=None)


def _reads_text(plan: Plan) -> bool:
    """Whether a recipe calibrates, or the quality gate compares on texts of the dataset."""
    gate = plan.job.quality
    compares = gate.divergence_documents > 0 and gate.divergence_text == "dataset"
    calibrates = any(option.calibration_samples for option in plan.options)
    return calibrates or ("evaluate" in plan.flow.stages and compares)


def _needs(tools: Tools, model: str, dataset: str | None, permit: Permit) -> list[Need]:
    """What has to be copied into the store; a transfer from elsewhere asks for its room itself."""
    count, needs = tools.models.missing_bytes, []
    for kind, path in (("model", model), ("dataset", dataset)):
        if path and not is_address(path):
            size = count(Path(path), dataset=kind == "dataset", permit=permit)
            needs.append(Need("artifacts", size, f"the {kind} {path}"))
    return needs


def _fetch_here(
    tools: Tools,
    source: str,
    digest: str | None,
    dataset: str | None,
    split: str,
    permit: Permit,
    inputs_digest: str,
) -> FetchRecord:
    """In the worker: read, hash, copy what is not there yet."""
    came = {}
    if is_address(source):
        arrival = _brought(tools, source, "model", permit)
        model, came["model_address"] = arrival.artifact, arrival.address
    else:
        folder = Path(source)
        model = patiently(lambda: tools.models.take(folder, permit=permit), f"store {folder}")
    if digest is not None and model.digest != digest:
        raise BadInput(
            f"{source} is registered with {digest[:19]}... but holds {model.digest[:19]}...; "
            "register the model again"
        )
    rows = None
    if dataset is not None and is_address(dataset) and not dataset.startswith(_HUB):
        arrival = _brought(tools, dataset, "dataset", permit)
        rows, came["dataset_address"] = arrival.artifact, arrival.address
    elif dataset is not None:
        asked = dataset
        rows = patiently(
            lambda: tools.models.take_dataset(asked, split, permit=permit),
            f"store the dataset {dataset}",
        )
    return FetchRecord(
        inputs_digest=inputs_digest,
        model=model,
        dataset=rows,
        licence=licence_of(Path(model.path)),
        **came,
    )


def _brought(
    tools: Tools, source: str, kind: Literal["model", "dataset"], permit: Permit
) -> Arrival:
    """From elsewhere; the journal says how far it is, now and then."""
    told_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _TELL_S:
            told_s = time.monotonic()
            tools.journal.event(
                "transfer", what=kind, address=source, done_bytes=done, total_bytes=total
            )

    arrival = tools.remote.bring(source, kind, permit, tell)
    tools.journal.event(
        "arrived",
        what=kind,
        address=arrival.address,
        moved_bytes=arrival.moved_bytes,
        seconds=round(arrival.seconds, 3),
    )
    return arrival


STAGE = Fetch()
