"""The values fit llm-d's chart, which adds no argument to what was certified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import assume, given, settings

from optikit.errors import BadInput
from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle
from optikit.spec.sku import ResourceSKU
from tests.argv import VALUES, WORDS, expected, of_container, variables_of
from tests.bundles import bundle, render

FILE = Path(__file__).parents[2] / "schemas/llm-d-modelservice-values.json"
SCHEMA = json.loads(FILE.read_text())


def values(served: Bundle, **asked: Any) -> dict[str, Any]:
    found = yaml.safe_load(render("llm-d", served, **{"model_path": "b/m", **asked}))
    jsonschema.validate(found, SCHEMA)
    return dict(found)


def pod(found: dict[str, Any]) -> dict[str, Any]:
    """The pod that the chart makes of its values, without its own additions."""
    decode = found["decode"]
    (given_,) = decode["containers"]
    container = {k: v for k, v in given_.items() if k not in ("modelCommand", "mountModelVolume")}
    container |= container.pop("extraConfig")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": decode["podAnnotations"]},
        "spec": {
            **decode.get("extraConfig", {}),
            "enableServiceLinks": decode["enableServiceLinks"],
            "terminationGracePeriodSeconds": decode["terminationGracePeriodSeconds"],
            "tolerations": decode.get("tolerations", []),
            "volumes": decode["volumes"],
            "containers": [container],
        },
    }


@pytest.mark.parametrize("sku", list(ResourceSKU))
def test_every_sku_makes_valid_values(sku: ResourceSKU) -> None:
    served = bundle(sku=sku.value, used=sku.facts.devices)
    found = values(served, api_key_secret="keys", replicas=2)
    kubernetes_validate.validate(pod(found), "1.34", strict=True)
    assert found["accelerator"]["type"] == ("cpu" if sku.facts.kind == "cpu" else "nvidia")


def test_the_chart_counts_the_devices_that_were_measured() -> None:
    served = bundle(sku="H100_8", used=2, serving={"data_parallel": 3})
    found = values(served)
    asked = found["decode"]["parallelism"]
    assert asked["tensor"] * asked["data"] == served.facts.devices.used == 6
    assert "nvidia.com/gpu" not in str(found["decode"]["containers"][0]["resources"])


@given(WORDS, VALUES)
@settings(max_examples=40)
def test_the_chart_starts_the_certified_command(words: list[str], value: str) -> None:
    assume("{{" not in value)
    served = bundle(more=words, environment={"X": value})
    found = values(served)
    (container,) = found["decode"]["containers"]
    assert container["modelCommand"] == "custom", "else the chart adds arguments"
    where = expected(served, "/model-cache/b/m", "0.0.0.0", DeploySettings())
    assert of_container(container) == where
    assert variables_of(container) == {"X": value}


def test_a_value_that_the_chart_would_expand_is_refused() -> None:
    with pytest.raises(BadInput, match="template"):
        values(bundle(environment={"X": "{{ .Values }}"}))


def test_the_model_is_mounted_where_the_arguments_say() -> None:
    found = values(bundle(), claim="weights", model_path="b/m")
    artifacts = found["modelArtifacts"]
    assert artifacts["uri"] == "pvc://weights/b/m"
    assert found["decode"]["containers"][0]["args"][1] == f"{artifacts['mountPath']}/b/m"


def test_one_server_does_prefill_and_decode_as_it_was_measured() -> None:
    found = values(bundle(), port=9000)
    assert found["prefill"] == {"create": False}
    assert found["routing"] == {"servicePort": 9000, "proxy": {"enabled": False}}
    assert found["decode"]["annotations"]["optikit/rate-rps"] == "4.25"
