"""Deployment and Service hold against Kubernetes' schemas, and start what was certified."""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings

from optikit.errors import BadInput
from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle
from optikit.spec.sku import ResourceSKU
from tests.argv import VALUES, WORDS, expected, of_container, variables_of
from tests.bundles import DIGEST, bundle, render

KUBERNETES = "1.34"
WHERE = "bundles/job-1/model"


def documents(served: Bundle, **asked: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    text = render("kubernetes", served, **{"model_path": WHERE, **asked})
    deployment, service = yaml.safe_load_all(text)
    return deployment, service


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def server(served: Bundle, **asked: Any) -> dict[str, Any]:
    (container,) = pod(documents(served, **asked)[0])["containers"]
    return dict(container)


@pytest.mark.parametrize("sku", list(ResourceSKU))
def test_every_sku_makes_valid_manifests(sku: ResourceSKU) -> None:
    served = bundle(sku=sku.value, used=sku.facts.devices)
    for document in documents(served, namespace="llm", api_key_secret="keys", replicas=3):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for document in documents(served):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_schemas_find_what_is_wrong() -> None:
    deployment, _ = documents(bundle())
    pod(deployment)["containers"][0]["startupprobe"] = {}
    with pytest.raises(jsonschema.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


@given(WORDS, VALUES)
@settings(max_examples=60)
def test_the_kubelet_starts_the_certified_command(words: list[str], value: str) -> None:
    served = bundle(more=words, environment={"HOME": "/h", "X": value})
    container = server(served)
    assert of_container(container) == expected(
        served, "/optikit/model", "0.0.0.0", DeploySettings()
    )
    assert variables_of(container) == {"HOME": "/h", "X": value}


def test_one_pod_has_the_devices_that_were_measured() -> None:
    deployment, _ = documents(bundle(sku="H200_8", used=4))
    found = pod(deployment)["containers"][0]["resources"]
    assert found["limits"] == {"nvidia.com/gpu": "4", "memory": "562Gi"}
    assert found["requests"] == {"nvidia.com/gpu": "4", "memory": "562Gi", "cpu": "42"}
    terms = pod(deployment)["affinity"]["nodeAffinity"]
    assert "NVIDIA-H200" in str(terms)
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0


def test_a_cpu_bundle_asks_for_cpus_alone() -> None:
    deployment, _ = documents(bundle(sku="CPU_2", used=1))
    found = pod(deployment)["containers"][0]
    assert found["resources"]["requests"] == {"cpu": "2", "memory": "24Gi"}
    assert found["image"] == "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.32.0"
    assert "affinity" not in pod(deployment)


def test_shared_memory_is_a_bounded_part_of_the_memory() -> None:
    spec = pod(documents(bundle(used=8))[0])
    (shm,) = [v["emptyDir"] for v in spec["volumes"] if v["name"] == "shm"]
    assert shm == {"medium": "Memory", "sizeLimit": "16Gi"}
    mounts = {m["name"]: m for m in spec["containers"][0]["volumeMounts"]}
    assert mounts["shm"]["mountPath"] == "/dev/shm"


def test_the_model_is_the_bundles_part_of_the_claim(tmp_path: Any) -> None:
    (tmp_path / "model").mkdir()
    spec = pod(documents(bundle(str(tmp_path)), model_path=None, claim="weights")[0])
    (model,) = [v for v in spec["volumes"] if v["name"] == "model"]
    assert model["persistentVolumeClaim"] == {"claimName": "weights", "readOnly": True}
    (mount,) = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "model"]
    assert mount == {
        "name": "model",
        "mountPath": "/optikit/model",
        "subPath": "bundles/job-1/model",
        "readOnly": True,
    }


@pytest.mark.parametrize("path", ["../secrets", "a/../../b", "/", "."])
def test_a_path_that_leaves_the_claim_is_refused(path: str) -> None:
    with pytest.raises(BadInput, match="inside the claim"):
        documents(bundle(), model_path=path)


def test_probes_ask_health_and_wait_for_the_start() -> None:
    container = server(bundle(), port=9000, startup_s=605)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": 9000}
    asked = container["startupProbe"]
    assert asked["periodSeconds"] * asked["failureThreshold"] >= 605
    deployment, service = documents(bundle(), port=9000, startup_s=605)
    assert deployment["spec"]["progressDeadlineSeconds"] > 605
    assert service["spec"]["ports"][0]["port"] == 9000


def test_the_service_finds_the_pods() -> None:
    deployment, service = documents(bundle(), name="mine")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["metadata"]["name"] == service["metadata"]["name"] == "mine"
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["selector"].items() <= labels.items()
    ports = pod(deployment)["containers"][0]["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == ports[0]["name"]


def test_a_service_of_the_namespace_cannot_set_the_engines_port() -> None:
    assert pod(documents(bundle(), name="vllm")[0])["enableServiceLinks"] is False


def test_a_key_is_named_and_never_told() -> None:
    variables = {v["name"]: v for v in server(bundle(), api_key_secret="keys")["env"]}
    assert variables["VLLM_API_KEY"] == {
        "name": "VLLM_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api-key"}},
    }
    assert "VLLM_API_KEY" not in {v["name"] for v in server(bundle())["env"]}


def test_no_pod_may_do_more_than_it_must() -> None:
    spec = pod(documents(bundle())[0])
    assert spec["automountServiceAccountToken"] is False
    context = spec["containers"][0]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_pods_and_objects_carry_the_certificate() -> None:
    deployment, service = documents(bundle())
    found = deployment["spec"]["template"]["metadata"]["annotations"]
    assert found == deployment["metadata"]["annotations"] == service["metadata"]["annotations"]
    assert found["optikit/status"] == "certified"
    assert found["optikit/rate-rps"] == "4.25"
    assert found["optikit/slo"] == "p95(e2e) <= 500 ms"
    assert found["optikit/verdict"] == "pass"
    assert found["optikit/model-digest"] == DIGEST
    assert found["optikit/certificate-digest"] == "sha256:" + "ce" * 32
    assert "optikit/warning" not in found
    assert deployment["metadata"]["labels"]["optikit/sku"] == "H100_8"


@pytest.mark.parametrize("status", ["preliminary", "negative", None])
def test_what_is_not_certified_says_so(status: str | None) -> None:
    served = bundle(status=status)
    assert "# NOT CERTIFIED" in render("kubernetes", served, model_path=WHERE)
    deployment, _ = documents(served)
    kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    found = deployment["metadata"]["annotations"]
    assert found["optikit/status"] == (status or "not measured")
    assert "not certified" in found["optikit/warning"]
    assert all("\n" not in text for text in found.values())


@pytest.mark.parametrize(
    ("served_as", "name"),
    [
        ("Qwen2.5-7B_x-fp8_dynamic", "qwen2-5-7b-x-fp8-dynamic"),
        ("7b", "m-7b"),
        ("___", "m"),
        ("m" * 39 + "-" + "x" * 20, "m" * 39),
    ],
)
def test_a_models_name_becomes_a_services(served_as: str, name: str) -> None:
    deployment, service = documents(bundle(name=served_as))
    assert service["metadata"]["name"] == name
    kubernetes_validate.validate(service, KUBERNETES, strict=True)
    args = pod(deployment)["containers"][0]["args"]
    assert args[args.index("--served-model-name") + 1] == served_as


def test_a_version_that_was_never_released_needs_an_image() -> None:
    served = bundle(version="0.32.1.dev7+gabc")
    with pytest.raises(BadInput, match="--image"):
        documents(served)
    assert server(served, image="mine:1")["image"] == "mine:1"
    assert server(bundle(version="0.32.0+cu130"))["image"] == "vllm/vllm-openai:v0.32.0"
