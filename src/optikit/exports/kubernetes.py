"""A Deployment and its Service."""

from __future__ import annotations

from typing import Any, Final, Literal

from optikit.exports._container import pod_spec
from optikit.exports._launch import launch_of, name_of
from optikit.exports._pod import as_yaml
from optikit.exports._proof import comment, labels, stated
from optikit.exports.base import IN_CLUSTER, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]


class KubernetesExport:
    """Two YAML documents for ``kubectl apply -f``."""

    name = "kubernetes"
    of: Final[Literal["bundle"]] = "bundle"
    reads = IN_CLUSTER | {"namespace", "python"}

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """The documents, and the certificate on each of them and on the pods."""
        launch = launch_of(bundle)
        name = settings.name or name_of(launch)
        chosen = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "server"}
        said = {**chosen, "app.kubernetes.io/managed-by": "optikit", **labels(bundle)}
        proof = stated(bundle)
        metadata: dict[str, Any] = {"name": name, "labels": said, "annotations": proof}
        if settings.namespace is not None:
            metadata["namespace"] = settings.namespace
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": settings.replicas,
                # a new pod gets the devices of an old one: seldom are there more
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
                },
                "progressDeadlineSeconds": settings.startup_s + 600,
                "selector": {"matchLabels": chosen},
                "template": {
                    "metadata": {"labels": said, "annotations": proof},
                    "spec": pod_spec(bundle, settings, "server"),
                },
            },
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "selector": chosen,
                "ports": [{"name": "http", "port": settings.port, "targetPort": "http"}],
            },
        }
        return comment(bundle, f"Serves {launch.served_name}") + as_yaml(deployment, service)


EXPORT = KubernetesExport()
