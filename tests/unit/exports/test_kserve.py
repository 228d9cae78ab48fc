"""The InferenceService has KServe's fields around a pod that Kubernetes knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings

from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle
from optikit.spec.sku import ResourceSKU
from tests.argv import VALUES, WORDS, expected, of_container, variables_of
from tests.bundles import bundle, render

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/inferenceservice.json").read_text())
OF_KSERVE = ("minReplicas", "maxReplicas", "labels", "annotations", "deploymentStrategy")


def service(served: Bundle, **asked: Any) -> dict[str, Any]:
    found = yaml.safe_load(render("kserve", served, **{"model_path": "m", **asked}))
    assert isinstance(found, dict)
    return found


def validated(found: dict[str, Any]) -> None:
    """Hold it against both schemas.

    Raises:
        jsonschema.ValidationError: says where.
    """
    jsonschema.validate(found, SCHEMA)
    pod = {k: v for k, v in found["spec"]["predictor"].items() if k not in OF_KSERVE}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
    kubernetes_validate.validate(whole, "1.34", strict=True)


@pytest.mark.parametrize("sku", list(ResourceSKU))
def test_every_sku_makes_a_valid_manifest(sku: ResourceSKU) -> None:
    served = bundle(sku=sku.value, used=sku.facts.devices)
    validated(service(served, namespace="llm", api_key_secret="keys"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found["spec"]["predictor"]["containers"][0].update(name="server"),
        lambda found: found["spec"]["predictor"].update(minreplicas=1),
        lambda found: found["spec"].update(Predictor={}),
        lambda found: found["metadata"].update(name="No"),
    ],
)
def test_the_schemas_find_what_is_wrong(spoil: Any) -> None:
    found = service(bundle())
    spoil(found)
    with pytest.raises(jsonschema.ValidationError):
        validated(found)


@given(WORDS, VALUES)
@settings(max_examples=40)
def test_kserve_starts_the_certified_command(words: list[str], value: str) -> None:
    served = bundle(more=words, environment={"X": value})
    (container,) = service(served)["spec"]["predictor"]["containers"]
    where = expected(served, "/optikit/model", "0.0.0.0", DeploySettings())
    assert of_container(container) == where
    assert variables_of(container) == {"X": value}


def test_nothing_scales_it_by_cpu() -> None:
    found = service(bundle(), replicas=2)
    asked = found["metadata"]["annotations"]
    assert asked["serving.kserve.io/autoscalerClass"] == "none"
    assert asked["serving.kserve.io/deploymentMode"] == "RawDeployment"
    predictor = found["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 2)


def test_service_and_pods_carry_the_certificate() -> None:
    found = service(bundle())
    assert found["metadata"]["annotations"]["optikit/rate-rps"] == "4.25"
    assert found["spec"]["predictor"]["annotations"]["optikit/status"] == "certified"
