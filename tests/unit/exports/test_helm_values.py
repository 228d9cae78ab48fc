"""The values fit the chart of vLLM's production stack, and its template starts what was certified.

``of_chart`` does what the chart's template does with them (tests/schemas/README.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from optikit.errors import BadInput
from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle
from optikit.spec.sku import ResourceSKU
from tests.argv import VALUES, WORDS, by_kubernetes, expected, variables_of
from tests.bundles import bundle, render

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/vllm-stack-values.json").read_text())


def values(served: Bundle, **asked: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the engine and of its model."""
    found = yaml.safe_load(render("helm-values", served, **{"model_path": "m", **asked}))
    jsonschema.validate(found, SCHEMA)
    engine = found["servingEngineSpec"]
    (model,) = engine["modelSpec"]
    return engine, model


def of_chart(engine: dict[str, Any], model: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What the chart writes itself, and what follows."""
    config = model["vllmConfig"]
    caching = "--enable-prefix-caching" if config["enablePrefixCaching"] else ""
    own = ["vllm", "serve", model["modelURL"], "--host", "0.0.0.0"]
    own += ["--port", str(engine["containerPort"]), caching or "--no-enable-prefix-caching"]
    return own, [by_kubernetes(word, {"HOME": "/root"}) for word in config["extraArgs"]]


@pytest.mark.parametrize("sku", list(ResourceSKU))
def test_every_sku_makes_valid_values(sku: ResourceSKU) -> None:
    _, model = values(bundle(sku=sku.value, used=sku.facts.devices), api_key_secret="keys")
    assert model["requestGPU"] == (sku.facts.devices if sku.facts.kind == "gpu" else 0)


@given(WORDS, VALUES)
@settings(max_examples=40)
def test_the_chart_starts_the_certified_arguments(words: list[str], value: str) -> None:
    served = bundle(more=words, environment={"X": value})
    engine, model = values(served)
    own, rest = of_chart(engine, model)
    whole = expected(served, "/optikit/model", "0.0.0.0", DeploySettings())
    assert own[2] == whole[3]
    assert own[3:7] == whole[6:10]
    assert rest == whole[4:6] + whole[10:]
    assert variables_of(model) == {"X": value}


@pytest.mark.parametrize("caching", [True, False])
def test_the_charts_own_word_on_caching_is_the_certified_one(caching: bool) -> None:
    own, rest = of_chart(*values(bundle(serving={"enable_prefix_caching": caching})))
    assert own[-1] in rest


def test_the_model_lies_on_the_claim_and_shared_memory_is_there() -> None:
    _, model = values(bundle(), claim="weights", model_path="bundles/x/model")
    volumes = {v["name"]: v for v in model["extraVolumes"]}
    assert volumes["model"]["persistentVolumeClaim"]["claimName"] == "weights"
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    mounts = {m["name"]: m for m in model["extraVolumeMounts"]}
    assert mounts["model"]["subPath"] == "bundles/x/model"
    assert mounts["model"]["mountPath"] == model["modelURL"]


def test_a_key_is_named_and_never_told() -> None:
    engine, model = values(bundle(), api_key_secret="keys")
    assert engine["vllmApiKey"] == {"secretName": "keys", "secretKey": "api-key"}
    assert "VLLM_API_KEY" not in str(model["env"])


def test_several_replicas_behind_one_address_are_refused() -> None:
    served = bundle(used=2, serving={"data_parallel": 2})
    with pytest.raises(BadInput, match="--to kubernetes"):
        values(served)


@pytest.mark.parametrize("image", ["mine", "host:5000/mine", "mine@sha256:ab"])
def test_an_image_that_the_chart_cannot_name_is_refused(image: str) -> None:
    with pytest.raises(BadInput, match="REPOSITORY:TAG"):
        values(bundle(), image=image)
    _, model = values(bundle(), image="host:5000/mine:1")
    assert (model["repository"], model["tag"]) == ("host:5000/mine", "1")


def test_deployment_and_pods_carry_the_certificate() -> None:
    _, model = values(bundle())
    assert model["annotations"]["optikit/rate-rps"] == "4.25"
    assert model["podAnnotations"] == model["annotations"]
