"""The parts of a pod that every Kubernetes target has."""

from __future__ import annotations

import math
from typing import Any

import yaml

from optikit.exports._launch import KEY_VARIABLE
from optikit.exports._nodes import GPU, node_affinity, toleration
from optikit.exports._place import needs_of
from optikit.exports._quote import dollars
from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle

__all__ = [
    "EVERYWHERE",
    "MODEL",
    "as_yaml",
    "placement",
    "probes",
    "requests_and_limits",
    "secure",
    "shared_memory",
    "variables",
]

EVERYWHERE = "0.0.0.0"  # noqa: S104  # of the pod, or of the container
MODEL = "/optikit/model"
"""Where a container finds the checkpoint."""
_KEY = "api-key"
_PERIOD_S = 10


def variables(bundle: Bundle, settings: DeploySettings) -> list[dict[str, Any]]:
    """The certified environment; the key of clients by reference."""
    found: list[dict[str, Any]] = [
        {"name": name, "value": dollars(value)} for name, value in bundle.facts.environment.items()
    ]
    if settings.api_key_secret is not None:
        reference = {"name": settings.api_key_secret, "key": _KEY}
        found.append({"name": KEY_VARIABLE, "valueFrom": {"secretKeyRef": reference}})
    return found


def requests_and_limits(bundle: Bundle) -> dict[str, Any]:
    """Memory is bounded; CPUs are not: a limit on them would be seen as latency."""
    needs = needs_of(bundle)
    memory = f"{needs.memory_gib}Gi"
    requests, limits = {"cpu": str(needs.cpus), "memory": memory}, {"memory": memory}
    if needs.gpus:
        requests[GPU] = limits[GPU] = str(needs.gpus)
    return {"requests": requests, "limits": limits}


def probes(settings: DeploySettings) -> dict[str, Any]:
    """On ``/health``, which asks for no key.

    Until the first answer only the start-up probe counts. A busy server answers late, and its end
    loses every request it holds: liveness waits for a minute of silence.
    """
    health = {"httpGet": {"path": "/health", "port": settings.port}}
    return {
        "startupProbe": {
            **health,
            "periodSeconds": _PERIOD_S,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(settings.startup_s / _PERIOD_S),
        },
        "readinessProbe": {
            **health,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            **health,
            "periodSeconds": _PERIOD_S,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
    }


def shared_memory(bundle: Bundle) -> tuple[dict[str, Any], dict[str, Any]]:
    """Volume and mount of ``/dev/shm``; Kubernetes gives 64 MiB, too little for NCCL."""
    size = f"{needs_of(bundle).shared_gib}Gi"
    volume = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}}
    return volume, {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108


def secure() -> dict[str, Any]:
    """What a container may not do."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def placement(bundle: Bundle) -> dict[str, Any]:
    """Nodes with the device that was measured; none in particular for a CPU."""
    sku = bundle.facts.devices.sku.facts
    if sku.kind == "cpu":
        return {}
    return {"affinity": node_affinity(sku), "tolerations": [toleration()]}


class _Dumper(yaml.SafeDumper):
    """Writes a part that stands in two places twice, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(*documents: dict[str, Any]) -> str:
    """YAML text; words stay in one line."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=2**20)
