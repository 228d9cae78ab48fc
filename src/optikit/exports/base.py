"""What may be asked of an export."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import Field

from optikit.spec.base import Spec
from optikit.spec.bundle import Bundle
from optikit.spec.job import OptimizationJob

__all__ = [
    "IN_CLUSTER",
    "ON_MACHINE",
    "BundleExport",
    "DeploySettings",
    "Export",
    "ExportSettings",
    "JobExport",
]

Label = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
"""A name as Kubernetes takes it for a namespace."""
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s$]+$")]
_HOST = r"^[A-Za-z0-9.:_-]+$"
_KEY = r"^[A-Za-z0-9._-]+$"
_PATH = r"^[^\x00-\x1f\x7f]+$"


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


class DeploySettings(Spec):
    """Where a bundle is to be served. None is everywhere: what the export takes by itself."""

    name: Annotated[str, Field(max_length=40, pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$")] | None = (
        None
    )
    """What the deployment is called."""
    image: Image | None = None
    """Container image with the engine; None: the one that vLLM publishes for the version."""
    namespace: Label | None = None
    claim: Label = "optikit-home"
    """Persistent volume claim that holds the model, where the system is Kubernetes."""
    model_path: str | None = Field(default=None, min_length=1, max_length=4096, pattern=_PATH)
    """Folder of the checkpoint: inside the claim, or on the machine."""
    host: str | None = Field(default=None, max_length=253, pattern=_HOST)
    """Address to listen on, where it is a machine's."""
    port: int = Field(default=8000, ge=1, le=65535)
    python: str | None = Field(default=None, min_length=1, max_length=4096, pattern=_PATH)
    """Interpreter of the engine environment, where no container brings one."""
    api_key_secret: Label | None = None
    """Kubernetes Secret whose key ``api-key`` clients must present; None: no key is asked for."""
    startup_s: int = Field(default=1800, ge=10, le=86_400)
    """How long a server may take until it answers."""
    replicas: int = Field(default=1, ge=1, le=1000)


ON_MACHINE = frozenset({"model_path", "host", "port", "python"})
"""What every export of a machine reads."""
IN_CLUSTER = frozenset(
    ("name", "image", "claim", "model_path", "port", "api_key_secret", "startup_s", "replicas")
)
"""What every export of a Kubernetes cluster reads."""


class JobExport(Protocol):
    """Writes a job in another system's words."""

    name: str
    of: Literal["job"]

    def render(self, job: OptimizationJob, job_id: str, settings: ExportSettings) -> str:
        """The file's text.

        Raises:
            BadInput: the system cannot take this job.
        """


class BundleExport(Protocol):
    """Writes the server of a bundle in another system's words."""

    name: str
    of: Literal["bundle"]
    reads: frozenset[str]
    """Fields of the settings that mean something to it; others are refused, not ignored."""

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """The file's text: the bundle's arguments, its hardware, its certificate.

        Raises:
            BadInput: the system cannot serve this bundle.
        """


Export = JobExport | BundleExport
