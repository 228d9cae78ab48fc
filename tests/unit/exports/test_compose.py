"""The file holds against the keys of the compose specification, and starts what was certified."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle
from optikit.spec.sku import ResourceSKU
from tests.argv import VALUES, WORDS, by_compose, expected
from tests.bundles import bundle, render

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/compose.json").read_text())


def service(served: Bundle, **asked: Any) -> dict[str, Any]:
    whole = yaml.safe_load(render("compose", served, **{"model_path": "/m", **asked}))
    jsonschema.validate(whole, SCHEMA)
    (found,) = whole["services"].values()
    return dict(found)


@pytest.mark.parametrize("sku", list(ResourceSKU))
def test_every_sku_makes_a_valid_file(sku: ResourceSKU) -> None:
    found = service(bundle(sku=sku.value, used=sku.facts.devices))
    resources = found["deploy"]["resources"]
    if sku.facts.kind == "gpu":
        (device,) = resources["reservations"]["devices"]
        assert (device["count"], device["capabilities"]) == (sku.facts.devices, ["gpu"])
    else:
        assert "reservations" not in resources


def test_the_schema_finds_what_is_wrong() -> None:
    whole = yaml.safe_load(render("compose", bundle(), model_path="/m"))
    whole["services"]["server"]["healthCheck"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, SCHEMA)


@given(WORDS, VALUES, VALUES)
@settings(max_examples=60)
def test_compose_starts_the_certified_command(words: list[str], value: str, path: str) -> None:
    served = bundle(more=words, environment={"X": value})
    plain = "/" + "".join(c for c in path if c.isprintable())
    found = service(served, model_path=plain)
    argv = [by_compose(word) for word in [*found["entrypoint"], *found["command"]]]
    assert argv[1:] == expected(served, "/optikit/model", "0.0.0.0", DeploySettings())
    assert by_compose(found["environment"]["X"]) == value
    assert by_compose(found["volumes"][0]["source"]) == plain


def test_only_this_machine_reaches_it_unless_asked() -> None:
    assert service(bundle())["ports"] == ["127.0.0.1:8000:8000"]
    assert service(bundle(), host="::", port=9000)["ports"] == ["[::]:9000:9000"]


def test_a_key_is_passed_through_and_never_told() -> None:
    assert service(bundle())["environment"]["VLLM_API_KEY"] is None


def test_the_health_check_is_python_that_asks_the_right_port() -> None:
    found = service(bundle(), port=9, startup_s=60)["healthcheck"]
    assert found["start_period"] == "60s"
    done = subprocess.run(
        [sys.executable, *found["test"][2:]], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "127.0.0.1:9/health" in found["test"][3]


def test_shared_memory_and_memory_are_those_of_the_devices() -> None:
    found = service(bundle(used=4))
    assert found["shm_size"] == "8g"
    assert found["deploy"]["resources"]["limits"] == {"memory": "319g"}


def test_labels_carry_the_certificate() -> None:
    labels = service(bundle(status="preliminary"))["labels"]
    assert labels["optikit/rate-rps"] == "4.25"
    assert "not certified" in labels["optikit/warning"]
