"""The schemas in the documents are today's, and they say of a file what the reader says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from optikit.core.schemas import schema_of
from optikit.errors import SpecError
from optikit.spec.job import OptimizationJob
from optikit.spec.versions import SCHEMAS
from tests.test_docs import DOCUMENTS, FENCE

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference" / "schemas"
LEAST: dict[str, Any] = {"model": {"name": "m"}, "compute": {"sku": "H100_1"}}


def accepted(data: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema_of("job")).is_valid(data))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_todays(name: str) -> None:
    file = FOLDER / f"{name}.json"
    assert json.loads(file.read_text()) == schema_of(name), (
        f"the {name} schema has changed: read docs/reference/schemas.md for whether its version "
        f"has to grow, then write it again: optikit schema {name} > {file.relative_to(ROOT)}"
    )


def test_every_committed_schema_is_one_of_them() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_it_is_a_json_schema_with_its_version(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:optikit:{name}:{SCHEMAS[name]}"
    text = json.dumps(schema)
    assert ">>>" not in text, "no tests of the code in it"


def test_the_page_names_todays_versions() -> None:
    page = (ROOT / "docs" / "reference" / "schemas.md").read_text()
    for name, version in SCHEMAS.items():
        assert f"| [{name}](schemas/{name}.json) | {version} |" in page


def specs() -> list[Any]:
    """Every job spec of the examples and of the documents."""
    files = sorted((ROOT / "examples").glob("*/*.yaml"))
    found = [(str(file.relative_to(ROOT)), yaml.safe_load(file.read_text())) for file in files]
    for document in DOCUMENTS:
        blocks = FENCE.finditer(document.read_text())
        bodies = [match["body"] for match in blocks if match["info"].strip() == "yaml"]
        found += [(document.name, yaml.safe_load(body)) for body in bodies]
    return [
        pytest.param(data, id=f"{number}-{name}")
        for number, (name, data) in enumerate(found)
        if isinstance(data, dict) and "compute" in data
    ]


@pytest.mark.parametrize("spec", specs())
def test_every_spec_of_the_examples_and_documents_is_accepted(spec: Any) -> None:
    assert accepted(spec)
    assert accepted(OptimizationJob.parse(spec).model_dump(mode="json")), "and as it is archived"


@pytest.mark.parametrize(
    "change",
    [
        {"slo": "p95(e2e) <= 1 s"},
        {"slo": ["p95(e2e) <= 1 s", "goodput(e2e <= 2 s) >= 95 %"]},
        {"slo": {"bounds": ["p95(e2e) <= 1 s"]}},
        {"slo": [{"metric": "e2e", "percentile": 95, "limit_ms": 100}]},
        {"slo": None},
        {"engine": "simulated"},
        {"engine": {"name": "vllm", "flags": {"a": 1}}},
        {"tuner": "random"},
        {"method": {"name": "doubling"}},
        {"model": {"name": "m", "version": 2}},
        {"flow_params": {"recipe": "int_w8a8"}},
        {"flow_params": {"recipe": ["int_w8a8", "fp8_dynamic"]}},
        {"flow_params": {"space": {"block_size": "search", "extra_flags": {"a": [1, 2]}}}},
        {"flow_params": {"space": {"extra_flags": {"a": {"low": 1, "high": 4}}}}},
        {"workload": {"prompt_tokens": 5}},
        {"workload": {"prompt_tokens": {"distribution": "uniform", "low": 5, "high": 9}}},
        {"workload": {"prompt_tokens": {"mean": 5}}},
    ],
)
def test_every_form_that_the_reader_takes_is_in_the_schema(change: dict[str, Any]) -> None:
    OptimizationJob.parse({**LEAST, **change})
    assert accepted({**LEAST, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"budgett": {}},
        {"model": {}},
        {"compute": {"sku": "H100_3"}},
        {"flow_params": {"recipe": []}},
        {"flow_params": {"num_trials": 0}},
        {"flow_params": {"space": {"block_size": "all"}}},
        {"workload": {"prompt_tokens": 0}},
        {"workload": {"prompt_tokens": "many"}},
        {"workload": {"arrivals": "never"}},
        {"engine": {"nam": "vllm"}},
        {"slo": 5},
        {"fallback": "maybe"},
    ],
)
def test_what_the_reader_refuses_by_its_shape_the_schema_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        OptimizationJob.parse({**LEAST, **change})
    assert not accepted({**LEAST, **change})
