"""KubeRay's RayJob: a Ray cluster for one job, which ends with it; Kueue decides when it begins."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import yaml

from optikit.engines import ENGINES
from optikit.errors import BadInput
from optikit.exports._nodes import GPU, node_affinity, toleration
from optikit.exports.base import ExportSettings
from optikit.spec.job import OptimizationJob
from optikit.spec.sku import GIB, SkuFacts
from optikit.spec.submission import Submission

__all__ = ["EXPORT"]

_RAY = "2.60.0"
_LONGEST_NAME = 47
"""KubeRay puts up to 16 characters behind a RayJob's name, and Kubernetes stops at 63."""
_MOST_BYTES = 1_000_000
"""Of a ConfigMap, with some room for its other parts."""
_FOLDER, _FILE, _HOME = "/etc/optikit", "submission.json", "/optikit"
_GRACE_S = 3600
"""Beyond the job's own wall time: image pulls, and a driver that does not end by itself."""
_STOP_WAIT_S = 60
_HEAD = {"cpu": "2", "memory": "8Gi"}


class RayJobExport:
    """A ConfigMap with the job, and a RayJob that runs the cluster's driver on it."""

    name = "rayjob"
    of: Final[Literal["job"]] = "job"

    def render(self, job: OptimizationJob, job_id: str, settings: ExportSettings) -> str:
        """Two YAML documents.

        Raises:
            BadInput: the id is longer than a RayJob's name may be, or the spec than a ConfigMap,
                or the SKU's device has no known label.
        """
        if len(job_id) > _LONGEST_NAME:
            raise BadInput(
                f"a RayJob's name has at most {_LONGEST_NAME} characters, {job_id!r} has "
                f"{len(job_id)}: choose a shorter --id"
            )
        told = Submission(job=job_id, spec=job, home=_HOME).model_dump_json(indent=2)
        if len(told.encode()) > _MOST_BYTES:
            raise BadInput(f"the job spec has more than {_MOST_BYTES} bytes: no ConfigMap holds it")
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(job_id, settings),
            "data": {_FILE: told},
        }
        documents = [config, _ray_job(job, job_id, settings)]
        return yaml.safe_dump_all(documents, sort_keys=False, width=100)


def _metadata(job_id: str, settings: ExportSettings) -> dict[str, Any]:
    found: dict[str, Any] = {"name": job_id}
    if settings.namespace is not None:
        found["namespace"] = settings.namespace
    return {**found, "labels": {"app.kubernetes.io/name": "optikit"}}


def _ray_job(job: OptimizationJob, job_id: str, settings: ExportSettings) -> dict[str, Any]:
    metadata = _metadata(job_id, settings)
    if settings.queue is not None:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = settings.queue
    simulated = ENGINES.load(job.engine.name).facts.simulated
    variables = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_WAIT_S)}}
    spec: dict[str, Any] = {
        "suspend": settings.queue is not None,  # Kueue ends the suspension
        "submissionMode": "K8sJobMode",
        "jobId": job_id,
        "entrypoint": f"python -m optikit.cluster_driver {_FOLDER}/{_FILE}",
        "runtimeEnvYAML": yaml.safe_dump(variables),
        "backoffLimit": 0,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 3600,
        "activeDeadlineSeconds": math.ceil(job.budget.wall_time_s) + _GRACE_S,
        "rayClusterSpec": {
            "rayVersion": _RAY,
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                "rayStartParams": {
                    "dashboard-host": "0.0.0.0",  # noqa: S104  # of the pod; Ray asks for a token
                    "num-cpus": "0",  # no stage lands on the head
                    "num-gpus": "0",
                },
                "template": _head(job_id, settings),
            },
            "workerGroupSpecs": [_workers(job.compute.sku.facts, simulated, job_id, settings)],
        },
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def _head(job_id: str, settings: ExportSettings) -> dict[str, Any]:
    ports = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client", "containerPort": 10001},
    ]
    container = _container("ray-head", settings)
    container |= {"ports": ports, "resources": {"requests": _HEAD, "limits": _HEAD}}
    return {"spec": {**_pod(job_id, settings), "containers": [container]}}


def _workers(
    sku: SkuFacts, simulated: bool, job_id: str, settings: ExportSettings
) -> dict[str, Any]:
    """One node of the SKU.

    A checkpoint passes through the host's memory: as much is asked for as the devices have.
    """
    real_gpus = sku.kind == "gpu" and not simulated
    memory = "16Gi" if simulated else f"{math.ceil(sku.memory_bytes * sku.devices / GIB)}Gi"
    cpus = 2 if simulated else sku.cpus
    # an eighth is left to what else runs on every node; a limit would be measured as latency
    requests: dict[str, Any] = {"cpu": str(max(1, cpus * 7 // 8)), "memory": memory}
    limits: dict[str, Any] = {"memory": memory}
    pod = _pod(job_id, settings)
    if real_gpus:
        requests[GPU] = limits[GPU] = str(sku.devices)
        pod |= {"affinity": node_affinity(sku), "tolerations": [toleration()]}
    container = _container("ray-worker", settings)
    container["resources"] = {"requests": requests, "limits": limits}
    return {
        "groupName": "stages",
        "replicas": 1,
        "minReplicas": 1,
        "maxReplicas": 1,
        "rayStartParams": {
            "num-cpus": str(cpus),
            "num-gpus": str(sku.devices if real_gpus else 0),
        },
        "template": {"spec": {**pod, "containers": [container]}},
    }


def _container(name: str, settings: ExportSettings) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.image,
        "env": [{"name": "OPTIKIT_HOME", "value": _HOME}],
        "volumeMounts": [
            {"name": "home", "mountPath": _HOME},
            {"name": "job", "mountPath": _FOLDER, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  # devices talk through it
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _pod(job_id: str, settings: ExportSettings) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": settings.claim}},
            {"name": "job", "configMap": {"name": job_id}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }


EXPORT = RayJobExport()
