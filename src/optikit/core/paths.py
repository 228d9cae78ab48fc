"""Which files a job names, by key: what a site has to look at before it takes the job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from optikit.core.addresses import Address, is_address
from optikit.errors import SpecError
from optikit.spec.job import OptimizationJob

__all__ = ["NamedPath", "addresses_of", "path_of", "paths_of", "rooted"]

_TASK_FILES = (".yaml", ".yml")
_MODELS = "mlflow"
"""The scheme of a registry."""


@dataclass(frozen=True)
class NamedPath:
    """One file or folder and the key that names it."""

    key: str
    path: Path


def paths_of(job: OptimizationJob) -> tuple[NamedPath, ...]:
    """Every path of a job, in the order of its keys.

    What lies elsewhere is none (``addresses_of``); what a task file names is found when that file
    is read. Engine flags name none: they are refused (engines/_vllm_refused.py). ``tuner.storage``
    is an address.

    Raises:
        SpecError: ``model.uri`` is no path.
    """
    found = []
    if job.model.uri is not None and not is_address(job.model.uri):
        found.append(NamedPath("model.uri", path_of(job.model.uri)))
    if job.dataset is not None and not is_address(job.dataset.path):
        found.append(NamedPath("dataset.path", Path(job.dataset.path)))
    if job.workload.trace is not None:
        found.append(NamedPath("workload.trace", Path(job.workload.trace)))
    found += [
        NamedPath("quality.tasks", Path(task))
        for task in job.quality.tasks
        if task.endswith(_TASK_FILES)
    ]
    if job.engine.key is not None and job.engine.key.file is not None:
        found.append(NamedPath("engine.key.file", Path(job.engine.key.file)))
    return tuple(found)


def addresses_of(job: OptimizationJob) -> tuple[tuple[str, Address], ...]:
    """Key and address of all that a job takes from elsewhere, brings there, or sends load to.

    Raises:
        SpecError: one that cannot be read, or is of another kind than the key.
    """
    named = [("model.uri", job.model.uri), ("dataset.path", job.dataset and job.dataset.path)]
    found = [(key, Address.parse(text, key)) for key, text in named if text and is_address(text)]
    if job.publish.uri is not None:  # a path would be written with the site's rights
        found.append(("publish.uri", Address.parse(job.publish.uri, "publish.uri")))
    if job.engine.url is not None:
        found.append(("engine.url", Address.parse(job.engine.url, "engine.url")))
    for key, address in found:
        if address.scheme == _MODELS and key != "model.uri":
            raise SpecError(
                f"{key}: asked {address}, but a registry of models holds models alone; a bundle "
                "that may be deployed becomes a version there by itself"
            )
    return tuple(found)


def rooted(job: OptimizationJob, home: Path) -> OptimizationJob:
    """The job with every path absolute; what is absolute already, and an address, stays.

    Whether a path may be read is not asked here.
    """
    model, dataset, workload, quality = job.model, job.dataset, job.workload, job.quality
    if model.uri is not None and "://" not in model.uri and not model.uri.startswith("file:"):
        model = model.model_copy(update={"uri": str(home / model.uri)})
    if dataset is not None and not is_address(dataset.path):
        dataset = dataset.model_copy(update={"path": str(home / dataset.path)})
    if workload.trace is not None:
        workload = workload.model_copy(update={"trace": str(home / workload.trace)})
    engine, key = job.engine, job.engine.key
    if key is not None and key.file is not None:
        key = key.model_copy(update={"file": str(home / key.file)})
        engine = engine.model_copy(update={"key": key})
    tasks = tuple(str(home / t) if t.endswith(_TASK_FILES) else t for t in quality.tasks)
    return job.model_copy(
        update={
            "model": model,
            "dataset": dataset,
            "workload": workload,
            "engine": engine,
            "quality": quality.model_copy(update={"tasks": tasks}),
        }
    )


def path_of(uri: str) -> Path:
    """The folder that a ``file://`` URI (or a plain path) names.

    Raises:
        SpecError: another scheme.

    >>> str(path_of("file:///a%20b"))
    '/a b'
    """
    try:
        parts = urlparse(uri)
    except ValueError as error:
        raise SpecError(f"model.uri: asked {uri!r:.80}, which is no address: {error}") from None
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise SpecError(f"model.uri: asked {uri!r:.80}, which is no file:///absolute/path")
    path = unquote(parts.path) if parts.scheme else uri
    if not path or "\0" in path:
        raise SpecError(f"model.uri: asked {uri!r:.80}, which names no path")
    return Path(path)
