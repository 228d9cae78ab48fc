"""The server as a container of a pod, for targets that take a whole one."""

from __future__ import annotations

from typing import Any

from optikit.exports._launch import image_of, launch_of
from optikit.exports._place import path_in_claim
from optikit.exports._pod import (
    EVERYWHERE,
    MODEL,
    placement,
    probes,
    requests_and_limits,
    secure,
    shared_memory,
    variables,
)
from optikit.exports._quote import dollars
from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["pod_spec"]

_PYTHON = "python3"
_STOP_S = 120
"""Requests that run when a pod is asked to go may end."""


def pod_spec(bundle: Bundle, settings: DeploySettings, container: str) -> dict[str, Any]:
    """A pod that serves the bundle.

    Args:
        container: what its container is called.
    """
    launch = launch_of(bundle)
    volume, mount = shared_memory(bundle)
    words = launch.arguments(MODEL, EVERYWHERE, settings.port)
    model = {
        "name": "model",
        "mountPath": MODEL,
        "subPath": path_in_claim(bundle, settings),
        "readOnly": True,
    }
    server = {
        "name": container,
        "image": settings.image or image_of(bundle),
        # named, for images start in different ways
        "command": launch.program(settings.python or _PYTHON),
        "args": [dollars(word) for word in words],
        "env": variables(bundle, settings),
        "ports": [{"name": "http", "containerPort": settings.port, "protocol": "TCP"}],
        **probes(settings),
        "resources": requests_and_limits(bundle),
        "volumeMounts": [model, mount],
        "securityContext": secure(),
    }
    claim = {"claimName": settings.claim, "readOnly": True}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a service called vllm would set VLLM_PORT
        "terminationGracePeriodSeconds": _STOP_S,
        **placement(bundle),
        "containers": [server],
        "volumes": [{"name": "model", "persistentVolumeClaim": claim}, volume],
    }
