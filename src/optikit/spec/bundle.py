"""A bundle as it lies there: what ``serving.yaml`` says and the certificate beside it."""

from __future__ import annotations

from typing import Any

from optikit.spec.base import Spec
from optikit.spec.record import Certificate
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import ResourceSKU
from optikit.spec.workload import Workload

__all__ = ["Bundle", "EngineRelease", "ServedOn", "ServingFacts"]


class EngineRelease(Spec):
    """The engine that was measured."""

    name: str
    version: str


class ServedOn(Spec):
    """The hardware that was measured."""

    sku: ResourceSKU
    used: int
    """Devices of the SKU that one server occupies."""


class ServingFacts(Spec):
    """``serving.yaml``; ``core.bundle.serving_facts`` writes it."""

    engine: EngineRelease
    arguments: tuple[str, ...]
    """The server's full argument list, interpreter first, with the bundle's defaults filled in."""
    environment: dict[str, str]
    serving: ServingConfig
    devices: ServedOn
    workload: Workload
    trace: Any = None
    slo: tuple[str, ...]
    rate_rps: float | None
    status: str
    """Of the certificate, or ``not measured``."""
    simulated: bool = False


class Bundle(Spec):
    """What an export is made of; nothing in it is computed again."""

    folder: str
    """Absolute path."""
    facts: ServingFacts
    certificate: Certificate | None
    """None: the job's flow measures nothing."""
    certificate_digest: str | None
    """``sha256:`` of the bytes of ``certificate.json``."""

    @property
    def certified(self) -> bool:
        """Whether the rate holds with the risk that was asked for."""
        return self.certificate is not None and self.certificate.status == "certified"
