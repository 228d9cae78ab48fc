"""OptiKIT: LLM optimization as a job that any team submits.

The public names; each is imported when it is first used, so that ``import optikit`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optikit.api import Job, JobResult, Submitter
    from optikit.errors import OptikitError
    from optikit.spec.job import ComputeConfig, DatasetStorage, ModelStorage, OptimizationJob
    from optikit.spec.sku import ResourceSKU
    from optikit.spec.slo import Slo
    from optikit.spec.workload import Workload

__version__ = "0.1.0"

__all__ = [
    "ComputeConfig",
    "DatasetStorage",
    "Job",
    "JobResult",
    "ModelStorage",
    "OptikitError",
    "OptimizationJob",
    "ResourceSKU",
    "Slo",
    "Submitter",
    "Workload",
    "__version__",
]

_HOMES = {
    "ComputeConfig": "optikit.spec.job",
    "DatasetStorage": "optikit.spec.job",
    "Job": "optikit.api",
    "JobResult": "optikit.api",
    "ModelStorage": "optikit.spec.job",
    "OptikitError": "optikit.errors",
    "OptimizationJob": "optikit.spec.job",
    "ResourceSKU": "optikit.spec.sku",
    "Slo": "optikit.spec.slo",
    "Submitter": "optikit.api",
    "Workload": "optikit.spec.workload",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'optikit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
