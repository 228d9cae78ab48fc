"""Serves one model and asks it all that the quality gate wants to know; keeps every answer."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from optikit.adapters.hardware import hardware
from optikit.adapters.jsonlog import engine_log_told
from optikit.core.divergence import DocumentLogprobs, text_digest
from optikit.errors import EngineError
from optikit.journal import patiently, raw_digest
from optikit.pools.base import Resources
from optikit.spec.candidate import ArtifactRef
from optikit.spec.plan import Plan
from optikit.spec.quality import ItemScores
from optikit.spec.record import FetchRecord, Variant
from optikit.spec.serving import ServingConfig
from optikit.stages._texts import FEWEST_HELD_OUT, texts_of
from optikit.stages.base import (
    Tools,
    attempt,
    default_serving,
    resources_for,
    set_aside,
    write_lines,
)

__all__ = ["TOP_K", "Documents", "Scored", "documents_of", "score", "score_baseline"]

Documents = tuple[tuple[int, ...], ...]
"""Token ids of each held-out text."""

ITEM_TOKENS = 2048
"""Context that is served while scoring: lm-evaluation-harness's own default for API models."""
TOP_K = 20
"""Log-probabilities a position: the most that vLLM's server gives unless it is told otherwise."""
_SCORES = "scores"


@dataclass(frozen=True)
class Scored:
    """One model's answers, run by run; the files are under ``folder``."""

    runs: tuple[tuple[ItemScores, ...], ...]
    folder: Path

    def logprobs(self, tools: Tools, run: int = 0) -> tuple[DocumentLogprobs, ...] | None:
        """Of the held-out documents in one of the runs; None where none were asked for."""
        file = self.folder / f"logprobs-{run + 1}.npz"
        return tools.logprobs.load(file) if file.exists() else None


def documents_of(tools: Tools, plan: Plan, fetched: FetchRecord) -> Documents:
    """The held-out documents, tokenized once in a worker; every model is given the same ids.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    if not plan.job.quality.divergence_documents:
        return ()
    found, _ = attempt(
        tools,
        "tokenizing of the held-out texts",
        Resources(cpus=1.0),
        _documents_here,
        tools.without_pool(),
        plan,
        fetched,
    )
    return found


def score_baseline(tools: Tools, plan: Plan, fetched: FetchRecord, documents: Documents) -> Scored:
    """The uncompressed model, scored ``baseline_runs`` times on one server.

    An earlier job's scores are used where they were asked of the same model in the same way.

    Raises:
        EngineError: it cannot be served.
        BadInput: a task that cannot be loaded.
    """
    runs = plan.job.quality.baseline_runs
    key = _key(tools, plan, fetched, documents)
    kept = tools.baselines.find(key)
    folder = tools.journal.folder("quality", "baseline") / _SCORES
    if kept is None or not _copied(kept, folder):
        found = score(tools, plan, documents, "baseline", "baseline", fetched.model, runs)
        try:
            tools.baselines.keep(key, found.folder)
        except OSError as error:
            text = f"the baseline's scores are not kept for later jobs: {error}"
            tools.journal.event("note", text=text)
        return found
    _written(tools, "baseline", folder)
    tools.journal.event("note", text=f"the baseline's scores are known from an earlier job: {kept}")
    return Scored(tuple(_read(folder / f"items-{run + 1}.jsonl") for run in range(runs)), folder)


def _copied(kept: Path, folder: Path) -> bool:
    """Whether kept scores are in the job's folder; False: somebody removed them meanwhile."""

    def copy() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)

    try:
        patiently(copy, f"write {folder}")
    except OSError:
        if kept.exists():
            raise
        return False
    return True


def score(
    tools: Tools,
    plan: Plan,
    documents: Documents,
    name: str,
    variant: Variant,
    model: ArtifactRef,
    runs: int = 1,
) -> Scored:
    """One model on a server of its own, in a worker.

    Raises:
        NoKernel: the engine has no kernel for it here.
        EngineError: it cannot be served.
        BadInput: a task that cannot be loaded.
    """
    devices = default_serving(plan, variant).devices
    found, _ = attempt(
        tools,
        f"evaluation of {name}",
        resources_for(plan, devices),
        _score_here,
        tools.without_pool(),
        plan,
        documents,
        name,
        variant,
        model,
        runs,
    )
    return found


def _key(tools: Tools, plan: Plan, fetched: FetchRecord, documents: Documents) -> dict[str, str]:
    """All that the baseline's scores depend on."""
    gate = plan.job.quality
    packages = tools.engine.packages()
    return {
        "model": fetched.model.digest,
        "engine": f"{plan.job.engine.name} {tools.engine.version()}",
        "packages": ", ".join(f"{name} {packages[name]}" for name in sorted(packages)),
        "serving": _serving(plan, "baseline").digest,
        "device": plan.sku.accelerator or hardware()["cpu"],
        "tasks": tools.evaluator.identity(gate.tasks, plan.permit),
        "limit": str(gate.limit),
        "runs": str(gate.baseline_runs),
        "documents": text_digest(documents),
        "top_k": str(TOP_K),
    }


def _score_here(
    tools: Tools,
    plan: Plan,
    documents: Documents,
    name: str,
    variant: Variant,
    model: ArtifactRef,
    runs: int,
) -> Scored:
    """In the worker: serve the model, score it, keep every item's score and log-probability."""
    job, journal = plan.job, tools.journal
    work = journal.folder("quality", name)
    set_aside(work)
    folder = work / _SCORES
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that died
    journal.folder("quality", name, _SCORES)
    serving = _serving(plan, variant)
    found: list[tuple[ItemScores, ...]] = []
    log = work / "engine.log"
    with (
        engine_log_told(log),
        tools.engine.serve(
            Path(model.path),
            serving,
            plan.sku.kind,
            vocab=plan.shape.vocab,
            log=log,
            port=job.engine.port,
            start_timeout_s=job.engine.start_timeout_s,
            what=f"{job.engine.name} server of the evaluation of {name}",
            on_start=lambda group: journal.event(
                "process_group", group=group.model_dump(mode="json")
            ),
        ) as server,
    ):
        try:
            for run in range(1, runs + 1):
                scores = tools.evaluator.score(
                    server.endpoint,
                    Path(model.path),
                    job.quality.tasks,
                    context=serving.max_model_len,
                    limit=job.quality.limit,
                    work=work,
                    permit=plan.permit,
                )
                rows = (one.model_dump(mode="json") for one in scores)
                write_lines(folder / f"items-{run}.jsonl", rows)
                found.append(scores)
                if documents:
                    seen = tools.logprobs.measure(server.endpoint, documents, top_k=TOP_K)
                    tools.logprobs.save(folder / f"logprobs-{run}.npz", seen)
        except EngineError:
            server.check()  # a server that died says why in its log
            raise
    _written(tools, name, folder)
    return Scored(tuple(found), folder)


def _written(tools: Tools, name: str, folder: Path) -> None:
    """Say in the journal what the scores of a model lie in, file by file."""
    files = {file.name: raw_digest(folder, [file.name]) for file in sorted(folder.iterdir())}
    tools.journal.event("scores", of=name, files=files)


def _documents_here(tools: Tools, plan: Plan, fetched: FetchRecord) -> Documents:
    """In the worker: held-out rows of the dataset, or the texts that ship where it has too few."""
    gate, folder = plan.job.quality, Path(fetched.model.path)
    longest = min(gate.divergence_tokens, _serving(plan, "baseline").max_model_len - 1)
    tokenize = partial(tools.logprobs.tokenize, folder, max_tokens=longest, code=plan.permit.code)
    if gate.divergence_text == "dataset":
        found = texts_of(tools, plan, fetched)
        aside = found.held_out if found else ()
        documents = tokenize(aside).documents
        if len(documents) >= min(FEWEST_HELD_OUT, gate.divergence_documents):
            return documents
    shipped = tools.logprobs.texts()[: gate.divergence_documents]
    return tokenize(shipped).documents


def _read(file: Path) -> tuple[ItemScores, ...]:
    return tuple(
        ItemScores.model_validate_json(line) for line in file.read_text().splitlines() if line
    )


def _serving(plan: Plan, variant: Variant) -> ServingConfig:
    """The default configuration with room for the tasks' items, which the workload says nothing of.

    A workload of short requests would refuse them: its max_model_len is 1.15 x its own length.
    """
    serving = default_serving(plan, variant)
    room = min(plan.shape.max_context, max(serving.max_model_len, ITEM_TOKENS))
    return serving.model_copy(update={"max_model_len": room})
