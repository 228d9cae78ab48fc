"""Relative paths of a job that came over the network lead into its team's home."""

from __future__ import annotations

from pathlib import Path

from optikit.spec.job import OptimizationJob

__all__ = ["rooted"]

_HUB = "hf://"
_TASK_FILES = (".yaml", ".yml")


def rooted(job: OptimizationJob, home: Path) -> OptimizationJob:
    """The job with every path absolute; what is absolute already, and an address, stays.

    Whether a path may be read is not asked here.
    """
    model, dataset, workload, quality = job.model, job.dataset, job.workload, job.quality
    if model.uri is not None and "://" not in model.uri and not model.uri.startswith("file:"):
        model = model.model_copy(update={"uri": str(home / model.uri)})
    if dataset is not None and not dataset.path.startswith(_HUB):
        dataset = dataset.model_copy(update={"path": str(home / dataset.path)})
    if workload.trace is not None:
        workload = workload.model_copy(update={"trace": str(home / workload.trace)})
    tasks = tuple(str(home / t) if t.endswith(_TASK_FILES) else t for t in quality.tasks)
    return job.model_copy(
        update={
            "model": model,
            "dataset": dataset,
            "workload": workload,
            "quality": quality.model_copy(update={"tasks": tasks}),
        }
    )
