"""What a job's driver on a cluster is told: the job, its home there, and what sent it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec
from optikit.spec.job import OptimizationJob

__all__ = ["Submission"]


class Submission(Spec):
    """One job on its way to a cluster; nothing in it is secret."""

    schema_version: Literal[1] = 1
    job: str
    """The job's id."""
    spec: OptimizationJob
    pool: str = "ray"
    home: str | None = None
    """Folder on the cluster, absolute or from ``~``; None: its ``$OPTIKIT_HOME``, else
    ``~/.optikit``."""
    code: str | None = None
    """Digest of the package that travels along; None: the cluster's own is used."""
    python: str | None = None
    """Version of the interpreter that sent it; None: not to be compared."""
    packages: dict[str, str] = Field(default_factory=dict)
    """Versions of the distributions that sent it, by name."""
