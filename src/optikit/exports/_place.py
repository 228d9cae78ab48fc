"""Where the model lies, and what of the SKU one server needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from optikit.errors import BadInput
from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle
from optikit.spec.sku import GIB

__all__ = ["Needs", "needs_of", "path_here", "path_in_claim"]


@dataclass(frozen=True)
class Needs:
    """Of one server."""

    gpus: int
    cpus: int
    memory_gib: int
    shared_gib: int
    """Of the memory, for ``/dev/shm``: NCCL and the engine's processes speak through it."""


def needs_of(bundle: Bundle) -> Needs:
    """The server's share of the SKU, by the devices it occupies.

    A checkpoint passes through the host's memory: as much is asked for as the devices have. Of a
    GPU node's CPUs an eighth is left to what else runs on every node.
    """
    sku, used = bundle.facts.devices.sku.facts, bundle.facts.devices.used
    memory = math.ceil(sku.memory_bytes * used / GIB)
    if sku.kind == "cpu":
        return Needs(0, sku.cpus, memory, 2)
    return Needs(used, max(1, sku.cpus * used * 7 // (8 * sku.devices)), memory, 2 * used)


def path_here(bundle: Bundle, settings: DeploySettings) -> str:
    """Absolute path of the model's folder on the machine that serves.

    Raises:
        BadInput: it was not given, and the bundle holds no model.
    """
    if settings.model_path is None:
        return str(_beside(bundle))
    if not PurePosixPath(settings.model_path).is_absolute():
        raise BadInput(
            f"--model-path {settings.model_path} is relative; this target needs the absolute path "
            "of the model's folder on the machine that serves"
        )
    return settings.model_path


def path_in_claim(bundle: Bundle, settings: DeploySettings) -> str:
    """Path of the model's folder inside the claim, without a slash in front.

    By default the claim holds OptiKIT's home, as ``export --to rayjob`` has it.

    Raises:
        BadInput: it leaves the claim, or was not given, and the bundle holds no model.
    """
    if settings.model_path is None:
        _beside(bundle)
        certificate = bundle.certificate
        job = certificate.job_id if certificate is not None else Path(bundle.folder).name
        return f"bundles/{job}/model"
    path = PurePosixPath(settings.model_path.strip("/"))
    if ".." in path.parts or str(path) == ".":
        raise BadInput(
            f"--model-path {settings.model_path}: give the model's folder inside the claim "
            f"{settings.claim}, such as bundles/JOB/model"
        )
    return str(path)


def _beside(bundle: Bundle) -> Path:
    model = Path(bundle.folder) / "model"
    if not model.is_dir():
        raise BadInput(f"the bundle has no model at {model}; say where it lies: --model-path")
    return model
