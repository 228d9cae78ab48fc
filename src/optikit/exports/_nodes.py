"""What a SKU is called on the nodes of a Kubernetes cluster."""

from __future__ import annotations

from typing import Any

from optikit.errors import BadInput
from optikit.spec.sku import SkuFacts

__all__ = ["GPU", "node_affinity", "toleration"]

GPU = "nvidia.com/gpu"
"""Resource, and taint, of a node with NVIDIA's device plug-in."""
_PRODUCT = "nvidia.com/gpu.product"
_GKE = "cloud.google.com/gke-accelerator"
_LABELS: dict[str, dict[str, str]] = {
    "A100": {_PRODUCT: "NVIDIA-A100-SXM4-80GB", _GKE: "nvidia-a100-80gb"},
    "H100": {_PRODUCT: "NVIDIA-H100-80GB-HBM3", _GKE: "nvidia-h100-80gb"},
    "H200": {_PRODUCT: "NVIDIA-H200", _GKE: "nvidia-h200-141gb"},
    "L40S": {_PRODUCT: "NVIDIA-L40S"},
}
"""By Ray's accelerator type: NVIDIA's GPU feature discovery writes the first, GKE the second."""


def node_affinity(sku: SkuFacts) -> dict[str, Any]:
    """Nodes with the SKU's device, by either label.

    Raises:
        BadInput: nobody said what the device is called there.
    """
    labels = _LABELS.get(sku.accelerator or "")
    if labels is None:
        raise BadInput(
            f"no node label is known for {sku.accelerator}; known: {', '.join(sorted(_LABELS))}"
        )
    terms = [
        {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
        for key, value in labels.items()
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"nodeAffinity": required}


def toleration() -> dict[str, str]:
    """Nodes with GPUs are commonly closed to pods that ask for none."""
    return {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
