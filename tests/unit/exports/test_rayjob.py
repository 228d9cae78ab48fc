"""The manifest holds against Kubernetes' schemas and KubeRay's fields, and means what it should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from optikit import cluster_driver
from optikit.cli import main
from optikit.errors import BadInput
from optikit.exports import EXPORTS
from optikit.exports.base import ExportSettings
from optikit.spec.job import OptimizationJob
from optikit.spec.sku import ResourceSKU
from optikit.spec.submission import Submission

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "tests/schemas/rayjob.json").read_text())
KUBERNETES = "1.34"


def spec(sku: str = "H100_8", **changes: Any) -> OptimizationJob:
    job = {"flow": "tune", "model": {"name": "llama-70b"}, "compute": {"sku": sku}}
    return OptimizationJob.parse({**job, **changes})


def documents(
    job: OptimizationJob, job_id: str = "job-1", **settings: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    told = ExportSettings(**{"image": "registry.local/optikit:1", **settings})
    export = EXPORTS.load("rayjob")
    assert export.of == "job"
    config, ray_job = yaml.safe_load_all(export.render(job, job_id, told))
    return config, ray_job


def pods(ray_job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = ray_job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def validated(config: dict[str, Any], ray_job: dict[str, Any]) -> None:
    """Hold both documents against the schemas.

    Raises:
        jsonschema.ValidationError: says where.
    """
    kubernetes_validate.validate(config, KUBERNETES, strict=True)
    jsonschema.validate(ray_job, SCHEMA)
    for pod in pods(ray_job):
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
        kubernetes_validate.validate(whole, KUBERNETES, strict=True)


@pytest.mark.parametrize("sku", list(ResourceSKU))
@pytest.mark.parametrize("engine", ["vllm", "simulated"])
def test_every_sku_makes_a_valid_manifest(sku: str, engine: str) -> None:
    validated(*documents(spec(sku, engine=engine), queue="team-a", namespace="llm"))
    validated(*documents(spec(sku, engine=engine)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job["spec"].update(entryPoint="x"),
        lambda job: job["spec"].update(shutdownAfterJobFinishes=False),
        lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("groupName"),
        lambda job: pods(job)[1]["containers"][0].update(volumemounts=[]),
        lambda job: pods(job)[0].pop("containers"),
    ],
)
def test_the_schemas_find_what_is_wrong(spoil: Any) -> None:
    config, ray_job = documents(spec(), queue="team-a")
    spoil(ray_job)
    with pytest.raises(jsonschema.ValidationError):
        validated(config, ray_job)


def test_the_job_is_in_the_config_map_for_the_clusters_driver() -> None:
    config, ray_job = documents(spec(budget={"wall_time_s": 7200}))
    told = Submission.parse(json.loads(config["data"]["submission.json"]))
    assert (told.job, told.spec) == ("job-1", spec(budget={"wall_time_s": 7200}))
    assert (told.home, told.pool, told.code, told.python) == ("/optikit", "ray", None, None)
    entry = ray_job["spec"]["entrypoint"].split()
    assert entry[:3] == ["python", "-m", cluster_driver.__name__]
    mounts = {m["name"]: m["mountPath"] for m in pods(ray_job)[0]["containers"][0]["volumeMounts"]}
    assert entry[3] == f"{mounts['job']}/submission.json"
    assert mounts["home"] == told.home
    assert ray_job["spec"]["jobId"] == ray_job["metadata"]["name"] == "job-1"
    assert ray_job["spec"]["activeDeadlineSeconds"] == 7200 + 3600


def test_kueue_admits_what_names_a_queue() -> None:
    _, queued = documents(spec(), queue="team-a")
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert queued["spec"]["suspend"] is True
    assert queued["spec"]["shutdownAfterJobFinishes"] is True
    _, free = documents(spec())
    assert free["spec"]["suspend"] is False
    assert "kueue.x-k8s.io/queue-name" not in free["metadata"]["labels"]


def test_a_worker_is_one_node_of_the_sku() -> None:
    _, ray_job = documents(spec("H200_4"))
    head, worker = pods(ray_job)
    asked = worker["containers"][0]["resources"]
    assert asked["limits"] == {"nvidia.com/gpu": "4", "memory": "562Gi"}
    assert asked["requests"]["cpu"] == "42"
    terms = worker["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    values = [term["matchExpressions"][0]["values"] for term in terms["nodeSelectorTerms"]]
    assert values == [["NVIDIA-H200"], ["nvidia-h200-141gb"]]
    assert worker["tolerations"][0]["key"] == "nvidia.com/gpu"
    params = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["rayStartParams"]
    assert params == {"num-cpus": "48", "num-gpus": "4"}
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_a_simulated_job_asks_for_no_gpu() -> None:
    _, ray_job = documents(spec("H100_8", engine="simulated"))
    worker = pods(ray_job)[1]
    assert "nvidia.com/gpu" not in worker["containers"][0]["resources"]["limits"]
    assert "affinity" not in worker


def test_no_pod_may_do_more_than_it_must() -> None:
    _, ray_job = documents(spec())
    for pod in pods(ray_job):
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
    assert ray_job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_a_name_that_kuberay_cannot_lengthen_is_refused() -> None:
    documents(spec(), "j" * 47)
    with pytest.raises(BadInput, match="at most 47"):
        documents(spec(), "j" * 48)


def test_the_command_line_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIKIT_HOME", str(tmp_path))
    job = str(ROOT / "examples/jobs/llama-70b.yaml")
    out = tmp_path / "out.yaml"
    argv = ["export", "rayjob", job, "--queue", "team-a", "--id", "job-1", "-o", str(out)]
    assert main(argv) == 0
    config, ray_job = yaml.safe_load_all(out.read_text())
    validated(config, ray_job)
    capsys.readouterr()
    assert main(["export", "rayjob", job, "--image", "mine:2"]) == 0
    config, ray_job = yaml.safe_load_all(capsys.readouterr().out)
    validated(config, ray_job)
    assert pods(ray_job)[0]["containers"][0]["image"] == "mine:2"
    assert ray_job["metadata"]["name"].startswith("j2")


def test_a_path_of_this_machines_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(spec(dataset={"path": "data/mine"}).model_dump(mode="json")))
    assert main(["export", "rayjob", str(path)]) == 2
    assert "dataset.path: data/mine is relative" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["rayjobb"], "did you mean 'rayjob'"),
        (["rayjob", "--id", "No"], "no job id"),
        (["rayjob", "--queue", "Team A"], "queue"),
        (["rayjob", "--namespace", "a/b"], "namespace"),
    ],
)
def test_bad_words_are_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    job = str(ROOT / "examples/jobs/llama-70b.yaml")
    assert main(["export", argv[0], job, *argv[1:]]) == 2
    assert words in capsys.readouterr().err
