"""Values for llm-d's chart ``llm-d-modelservice``: decode pods alone, as they were measured."""

from __future__ import annotations

from typing import Any, Final, Literal

from optikit.exports._launch import image_of, launch_of, name_of
from optikit.exports._place import path_in_claim
from optikit.exports._pod import (
    EVERYWHERE,
    as_yaml,
    placement,
    probes,
    requests_and_limits,
    secure,
    shared_memory,
    variables,
)
from optikit.exports._proof import comment, stated
from optikit.exports._quote import dollars, untemplated
from optikit.exports.base import IN_CLUSTER, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]

_MOUNT = "/model-cache"


class LlmDExport:
    """``helm install NAME llm-d-modelservice/llm-d-modelservice -f FILE``.

    The command is given whole (``modelCommand: custom``), so that the chart adds no argument. It
    counts GPUs from ``parallelism``.
    """

    name = "llm_d"
    of: Final[Literal["bundle"]] = "bundle"
    reads = IN_CLUSTER | {"python"}

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """One YAML document."""
        launch, serving = launch_of(bundle), bundle.facts.serving
        name, path = settings.name or name_of(launch), path_in_claim(bundle, settings)
        words = launch.arguments(f"{_MOUNT}/{path}", EVERYWHERE, settings.port)
        shm, mount = shared_memory(bundle)
        gpu = bundle.facts.devices.sku.facts.kind == "gpu"
        needs = requests_and_limits(bundle)
        for part in needs.values():
            part.pop("nvidia.com/gpu", None)  # the chart's to add
        proof = stated(bundle)
        container: dict[str, Any] = {
            "name": "vllm",
            "image": settings.image or image_of(bundle),
            "modelCommand": "custom",
            "command": launch.program(settings.python or "python3"),
            "args": [dollars(word) for word in words],
            "env": [_plain(variable) for variable in variables(bundle, settings)],
            "ports": [{"name": "metrics", "containerPort": settings.port, "protocol": "TCP"}],
            "resources": needs,
            "mountModelVolume": True,
            "volumeMounts": [mount],
            "extraConfig": {**probes(settings), "securityContext": secure()},
        }
        decode: dict[str, Any] = {
            "create": True,
            "replicas": settings.replicas,
            "annotations": proof,
            "podAnnotations": proof,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 120,
            "parallelism": {"tensor": serving.tensor_parallel, "data": serving.data_parallel},
            "containers": [container],
            "volumes": [shm],
        }
        place = placement(bundle)
        if place:
            decode["tolerations"] = place["tolerations"]
            decode["extraConfig"] = {"affinity": place["affinity"]}
        values = {
            "multinode": False,
            "accelerator": {"type": "nvidia" if gpu else "cpu"},
            "modelArtifacts": {
                "name": launch.served_name,
                "uri": f"pvc://{settings.claim}/{path}",
                "mountPath": _MOUNT,
                "labels": {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": name},
            },
            # the sidecar splits prefill from decode; what was measured does both
            "routing": {"servicePort": settings.port, "proxy": {"enabled": False}},
            "decode": decode,
            "prefill": {"create": False},
        }
        head = comment(
            bundle,
            f"Serves {launch.served_name}: values for the chart llm-d-modelservice",
            "llm-d's router in front was not there when the rate was measured.",
        )
        return head + as_yaml(values)


def _plain(variable: dict[str, Any]) -> dict[str, Any]:
    """The chart runs the environment through its templates."""
    if "value" in variable:
        untemplated(variable["value"])
    return variable


EXPORT = LlmDExport()
