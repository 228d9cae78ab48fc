"""What may be asked of an export."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

from optikit.spec.base import Spec
from optikit.spec.job import OptimizationJob

__all__ = ["Export", "ExportSettings"]

Label = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
"""A name as Kubernetes takes it for a namespace."""


class ExportSettings(Spec):
    """Where a job is to run, in the words of the other system."""

    image: str = Field(min_length=1, max_length=512, pattern=r"^\S+$")
    """Container image with Ray, OptiKIT and its engine environment."""
    namespace: Label | None = None
    """None: that of whoever applies the file."""
    queue: Label | None = None
    """Kueue's local queue; None: the job does not wait for a quota."""
    claim: Label = "optikit-home"
    """Persistent volume claim that holds OptiKIT's home."""


class Export(Protocol):
    """Writes a job in another system's words."""

    name: str

    def render(self, job: OptimizationJob, job_id: str, settings: ExportSettings) -> str:
        """The file's text.

        Raises:
            BadInput: the system cannot take this job.
        """
