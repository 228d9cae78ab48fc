"""Values for the chart of vLLM's production stack (``vllm/vllm-stack``)."""

from __future__ import annotations

from typing import Any, Final, Literal

from optikit.errors import BadInput
from optikit.exports._launch import image_of, launch_of, name_of
from optikit.exports._nodes import node_affinity, toleration
from optikit.exports._place import needs_of, path_in_claim
from optikit.exports._pod import MODEL, as_yaml, probes, secure, shared_memory, variables
from optikit.exports._proof import comment, stated
from optikit.exports._quote import dollars
from optikit.exports.base import IN_CLUSTER, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]

_CACHING = "--enable-prefix-caching"
_OWN_VOLUME = "1Gi"
"""The chart's schema asks for a volume of its own; the model lies on the claim."""


class HelmValuesExport:
    """``helm install NAME vllm/vllm-stack -f FILE``.

    The chart writes ``vllm serve MODEL --host 0.0.0.0 --port PORT`` and a word on prefix caching;
    behind those the certified arguments stand whole.
    """

    name = "helm_values"
    of: Final[Literal["bundle"]] = "bundle"
    reads = IN_CLUSTER

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """One YAML document.

        Raises:
            BadInput: several replicas behind one address, which ``vllm serve`` would give an API
                server each; one was measured.
        """
        launch, needs = launch_of(bundle), needs_of(bundle)
        copies = bundle.facts.serving.data_parallel
        if copies > 1:
            raise BadInput(
                f"the bundle was measured with data parallelism {copies} behind one API server; "
                f"the chart's `vllm serve` would start {copies} of them. Use --to kubernetes"
            )
        name = settings.name or name_of(launch)
        repository, tag = _parts(settings.image or image_of(bundle))
        claim = {"claimName": settings.claim, "readOnly": True}
        shm, mount = shared_memory(bundle)
        proof = stated(bundle)
        model: dict[str, Any] = {
            "name": name,
            "annotations": proof,
            "podAnnotations": proof,
            "repository": repository,
            "tag": tag,
            "modelURL": MODEL,
            "replicaCount": settings.replicas,
            "requestCPU": needs.cpus,
            "requestMemory": f"{needs.memory_gib}Gi",
            "limitMemory": f"{needs.memory_gib}Gi",
            "requestGPU": needs.gpus,
            "pvcStorage": _OWN_VOLUME,
            "vllmConfig": {
                "enablePrefixCaching": _CACHING in launch.certified,
                "extraArgs": [
                    dollars(word)
                    for word in ("--served-model-name", launch.served_name, *launch.certified)
                ],
            },
            # its schema has no place for a secret's reference here: see vllmApiKey
            "env": variables(bundle, settings.model_copy(update={"api_key_secret": None})),
            "extraVolumes": [{"name": "model", "persistentVolumeClaim": claim}, shm],
            "extraVolumeMounts": [
                {
                    "name": "model",
                    "mountPath": MODEL,
                    "subPath": path_in_claim(bundle, settings),
                    "readOnly": True,
                },
                mount,
            ],
        }
        engine: dict[str, Any] = {"enableEngine": True}
        sku = bundle.facts.devices.sku.facts
        if sku.kind == "gpu":
            required = node_affinity(sku)["nodeAffinity"]
            terms = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            model["nodeSelectorTerms"] = terms
            engine["tolerations"] = [toleration()]
        asked = probes(settings)
        engine |= {
            "containerPort": settings.port,
            "servicePort": settings.port,
            "startupProbe": asked["startupProbe"],
            "livenessProbe": asked["livenessProbe"],
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "containerSecurityContext": secure(),
        }
        if settings.api_key_secret is not None:
            key = {"secretName": settings.api_key_secret, "secretKey": "api-key"}
            engine["vllmApiKey"] = key
        head = comment(
            bundle,
            f"Serves {launch.served_name}: values for the chart vllm-stack",
            "The chart sets PYTHONHASHSEED, HF_HOME, PROMETHEUS_MULTIPROC_DIR and LMCACHE_* as "
            "well, and puts a router in front: neither was there when the rate was measured.",
        )
        return head + as_yaml({"servingEngineSpec": {**engine, "modelSpec": [model]}})


def _parts(image: str) -> tuple[str, str]:
    """Repository and tag; the chart puts a colon between.

    Raises:
        BadInput: the image has no tag, or a digest.
    """
    repository, colon, tag = image.rpartition(":")
    if "@" in image or not colon or "/" in tag:
        raise BadInput(f"--image {image}: the chart takes REPOSITORY:TAG, without a digest")
    return repository, tag


EXPORT = HelmValuesExport()
