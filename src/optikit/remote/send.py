"""Sends a job to a cluster; the same id and spec again is the same job."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

from optikit.adapters.ray_jobs import DuplicateJob, RayJobs
from optikit.archive import digest_of
from optikit.core.redact import Redactor, secrets_in
from optikit.engines import ENGINES
from optikit.errors import BadInput, ClusterError, UnsafeInput
from optikit.remote.parcel import SUBMISSION_FILE, sent_with, write_parcel
from optikit.spec.job import OptimizationJob
from optikit.spec.submission import Submission

__all__ = ["FLOW", "JOB", "MODEL", "SIMULATED", "STOP_WAIT_S", "check_portable", "send"]

JOB, FLOW, MODEL = "optikit_job", "optikit_flow", "optikit_model"
SIMULATED = "optikit_simulated"
_SPEC, _CODE = "optikit_spec", "optikit_code"
STOP_WAIT_S = 60
"""What a driver has between SIGTERM and SIGKILL; Ray's own three seconds do not end a server."""


def send(
    cluster: RayJobs,
    spec: OptimizationJob,
    job_id: str,
    *,
    home: str | None = None,
    pool: str | None = None,
    python: str = "python",
    run: int = 1,
) -> str:
    """Send a job; the name of its driver's Ray job.

    Args:
        home: folder on the cluster, see :class:`Submission`.
        python: the cluster's interpreter that has Ray and OptiKIT's dependencies.
        run: counts the drivers that the job has had.

    Raises:
        BadInput: the id is taken by another spec, or the spec names what only this machine has.
        UnsafeInput: the spec holds a secret of the environment.
        ClusterError: the cluster cannot be reached, or refused.
    """
    simulated = check_portable(spec, home)
    digest = digest_of(spec)
    name = job_id if run == 1 else f"{job_id}.r{run}"  # no id has a dot
    found = cluster.find(name)
    if found is None:
        sender = sent_with()
        _refuse_other_ray(cluster, sender["packages"].get("ray"))
        told = Submission(job=job_id, spec=spec, pool=pool or "ray", home=home, **sender)
        labels = {
            JOB: job_id,
            FLOW: spec.flow,
            MODEL: f"{spec.model.name}:{spec.model.version}",
            SIMULATED: str(simulated).lower(),
            _SPEC: digest,
            _CODE: sender["code"],
        }
        try:
            _upload(cluster, name, told, python, labels)
        except DuplicateJob:
            pass  # another sender was faster
        except ClusterError:
            if cluster.find(name) is None:  # else only the answer was lost
                raise
        found = cluster.find(name)
    if found is None:
        raise ClusterError(f"the cluster at {cluster.address} took job {name} and lost it")
    if found.metadata.get(_SPEC) != digest:
        raise BadInput(
            f"the cluster at {cluster.address} has a job {job_id} of another spec; choose another "
            "--id, or none"
        )
    return name


def _upload(
    cluster: RayJobs, name: str, told: Submission, python: str, labels: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="optikit-") as folder:
        parcel = Path(folder) / "parcel.zip"
        write_parcel(parcel, told.model_dump_json())
        cluster.submit(
            name,
            f"exec {shlex.quote(python)} -m optikit.cluster_driver {SUBMISSION_FILE}",
            parcel,
            labels,
            {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)},
        )


def check_portable(spec: OptimizationJob, home: str | None = None) -> bool:
    """Whether the job is simulated; nothing in it may be of this machine alone.

    Raises:
        BadInput: a path that leads somewhere only from this machine's working folder.
        UnsafeInput: the value of a secret of the environment.
    """
    simulated = ENGINES.load(spec.engine.name).facts.simulated
    _refuse_secrets(spec)
    _refuse_local(spec, home, simulated)
    return simulated


def _refuse_secrets(spec: OptimizationJob) -> None:
    held = Redactor(secrets_in(os.environ)).held_by(spec.model_dump_json())
    if held:
        raise UnsafeInput(
            f"the job spec holds the value of {', '.join(held)}, and all who use the cluster can "
            "read it; leave it out: secrets are those of the cluster's own environment"
        )


def _refuse_other_ray(cluster: RayJobs, here: str | None) -> None:
    if cluster.ray_version not in (None, here):
        raise BadInput(
            f"the cluster at {cluster.address} runs Ray {cluster.ray_version}, this machine has "
            f"{here}; install its version here: pip install 'ray[default]=={cluster.ray_version}'"
        )


def _refuse_local(spec: OptimizationJob, home: str | None, simulated: bool) -> None:
    """Refuse paths that lead somewhere only from this machine's working folder."""
    named = {"workload.trace": spec.workload.trace}
    if spec.dataset is not None and not simulated and "://" not in spec.dataset.path:
        named["dataset.path"] = spec.dataset.path
    for number, task in enumerate(spec.quality.tasks):
        if task.endswith((".yaml", ".yml")):
            named[f"quality.tasks.{number}"] = task
    if spec.engine.key is not None:
        named["engine.key.file"] = spec.engine.key.file
    if home is not None and not home.startswith("~"):
        named["--home"] = home
    for key, path in named.items():
        if path is not None and not os.path.isabs(path):  # noqa: PTH117  # of another machine
            raise BadInput(
                f"{key}: {path} is relative to a folder of this machine, and the job runs on the "
                "cluster; give a path that is absolute there, on a disk that all its nodes share"
            )
