"""KServe's InferenceService (``serving.kserve.io/v1beta1``) with a container of its own."""

from __future__ import annotations

from typing import Any, Final, Literal

from optikit.exports._container import pod_spec
from optikit.exports._launch import launch_of, name_of
from optikit.exports._pod import as_yaml
from optikit.exports._proof import comment, labels, stated
from optikit.exports.base import IN_CLUSTER, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]

_CONTAINER = "kserve-container"
"""KServe finds the server by this name."""


class KserveExport:
    """Deployed without Knative, whose pods may mount no claim unless its operator allows it."""

    name = "kserve"
    of: Final[Literal["bundle"]] = "bundle"
    reads = IN_CLUSTER | {"namespace", "python"}

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """One YAML document."""
        launch = launch_of(bundle)
        proof = stated(bundle)
        metadata: dict[str, Any] = {
            "name": settings.name or name_of(launch),
            "labels": {"app.kubernetes.io/managed-by": "optikit", **labels(bundle)},
            "annotations": {
                "serving.kserve.io/deploymentMode": "RawDeployment",
                # a rate was certified for one server: how many are needed is not a matter of CPU
                "serving.kserve.io/autoscalerClass": "none",
                **proof,
            },
        }
        if settings.namespace is not None:
            metadata["namespace"] = settings.namespace
        pod = pod_spec(bundle, settings, _CONTAINER)
        service = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": metadata,
            "spec": {
                "predictor": {
                    "minReplicas": settings.replicas,
                    "maxReplicas": settings.replicas,
                    "annotations": proof,
                    "labels": labels(bundle),
                    "deploymentStrategy": {
                        "type": "RollingUpdate",
                        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
                    },
                    **pod,
                }
            },
        }
        return comment(bundle, f"Serves {launch.served_name}") + as_yaml(service)


EXPORT = KserveExport()
