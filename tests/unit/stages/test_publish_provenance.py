"""What a bundle says of where it comes from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from optikit.core.provenance import FOLDER_DIGEST
from optikit.spec.candidate import ArtifactRef, Candidate
from optikit.spec.permit import Permit
from optikit.spec.record import CompressRecord
from optikit.stores.contents import model_digest
from tests.unit.stages.publish_case import Case, plan


def statement(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((case.bundle / "provenance.json").read_text())
    return found


def inputs(case: Case) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = statement(case)["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    return found


def with_dataset(case: Case, samples: int) -> dict[str, Any]:
    """Inputs of a candidate of so many samples of a bucket's dataset."""
    assert case.inputs.fetch is not None
    rows = ArtifactRef(kind="dataset", digest="sha256:" + "d" * 64, path="/x", size_bytes=1)
    fetch = case.inputs.fetch.model_copy(
        update={
            "dataset": rows,
            "dataset_address": "s3://datasets/rows",
            "model_address": "hf://org/m@0123456789abcdef",
        }
    )
    made = Candidate(
        id="c0",
        recipe="int_w8a8",
        model=case.compressed,
        samples=samples,
        sample_digest="sha256:" + "e" * 64,
        seed=3,
        sampling="stratified",
    )
    case.plan = plan(dataset={"path": "s3://datasets/rows", "text_field": "text"})
    return {"fetch": fetch, "compress": CompressRecord(inputs_digest="d", candidates=(made,))}


def test_the_statement_binds_what_ships_by_digest(case: Case) -> None:
    case.run()
    said = statement(case)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    model, *files = said["subject"]
    assert model["name"] == "model"
    shipped = model_digest(case.bundle / "model")
    assert f"sha256:{model['digest'][FOLDER_DIGEST]}" == shipped == case.compressed.digest
    names = {file["name"] for file in files}
    assert names == {"README.md", "certificate.json", "serve.sh", "serving.yaml"}
    for file in files:
        content = (case.bundle / file["name"]).read_bytes()
        assert file["digest"]["sha256"] == hashlib.sha256(content).hexdigest()
    run = said["predicate"]["runDetails"]
    assert run["metadata"]["invocationId"] == "j1"
    assert run["builder"]["version"]["optikit"]


def test_it_names_the_base_model_its_licence_and_what_made_it(case: Case) -> None:
    case.run()
    base = inputs(case)[0]
    assert base["name"] == "m"
    assert base["digest"] == {FOLDER_DIGEST: case.fetched.digest.removeprefix("sha256:")}
    assert "uri" not in base, "a folder of this machine is nobody's business elsewhere"
    assert base["annotations"]["licence"] == "Apache-2.0"
    assert base["annotations"]["licenceFiles"] == ["LICENSE"]
    assert (case.bundle / "LICENSE").read_text() == "Apache License\n"
    uris = [one.get("uri", "") for one in inputs(case)]
    assert any(uri.startswith("pkg:pypi/optikit@") for uri in uris)
    (engine,) = [one for one in inputs(case) if one["name"] == "fake"]
    assert engine["annotations"]["version"] == "1.0"
    asked = statement(case)["predicate"]["buildDefinition"]["externalParameters"]
    assert (asked["recipe"], asked["model"], asked["sku"]) == ("int_w8a8", "m:1", "CPU_2")
    assert str(case.journal.home) not in (case.bundle / "provenance.json").read_text()


@pytest.mark.parametrize(("samples", "role"), [(256, "calibration"), (0, "held-out text")])
def test_the_dataset_stands_with_its_digest_and_use(case: Case, samples: int, role: str) -> None:
    case.run(**with_dataset(case, samples))
    base, dataset = inputs(case)[:2]
    assert base["uri"] == "hf://org/m@0123456789abcdef"
    assert (dataset["name"], dataset["uri"]) == ("s3://datasets/rows", "s3://datasets/rows")
    assert dataset["digest"] == {FOLDER_DIGEST: "d" * 64}
    facts = dataset["annotations"]
    assert facts["role"] == role
    assert facts.get("samples") == (samples or None)
    assert facts.get("seed") == (3 if samples else None)
    text = (case.bundle / "README.md").read_text()
    assert "| source | hf://org/m@0123456789abcdef |" in text
    assert "s3://datasets/rows" in text
    tags = case.tracker.told[0]["tags"]
    assert tags["base_model_address"] == "hf://org/m@0123456789abcdef"
    assert tags["dataset_digest"] == "sha256:" + "d" * 64


def test_no_licence_is_said_to_be_not_stated(case: Case) -> None:
    assert case.inputs.fetch is not None
    for file in Path(case.fetched.path).glob("LICENSE"):
        file.unlink()
    case.run(fetch=case.inputs.fetch.model_copy(update={"licence": None}))
    facts = inputs(case)[0]["annotations"]
    assert (facts["licence"], facts["licenceFiles"]) == ("not stated", [])
    assert not (case.bundle / "LICENSE").exists()
    assert (
        "| licence | not stated by the model; ask who made it |"
        in (case.bundle / "README.md").read_text()
    )
    assert case.tracker.told[0]["tags"]["licence"] == "not stated"


def test_the_registry_is_told_digests_to_check_by(case: Case) -> None:
    case.run()
    tags = case.tracker.told[0]["tags"]
    proof = hashlib.sha256((case.bundle / "certificate.json").read_bytes()).hexdigest()
    assert tags["certificate_digest"] == f"sha256:{proof}"
    assert tags["model_digest"] == case.compressed.digest
    assert tags["base_model"] == "m:1"
    assert tags["base_model_digest"] == case.fetched.digest


class Bucket:
    """Takes a bundle."""

    def send(self, folder: Path, text: str, permit: Permit) -> str:
        return f"{text}/SHA256SUMS#sha256={'0' * 64}"


def test_the_registry_is_told_where_else_the_bundle_lies(case: Case) -> None:
    case.plan = plan(publish={"uri": "s3://bundles/llm/"})
    case.tools = replace(case.tools, remote=cast(Any, Bucket()))
    record = case.run()
    assert record.address == f"s3://bundles/llm/j1/SHA256SUMS#sha256={'0' * 64}"
    assert case.tracker.told[0]["tags"]["bundle_address"] == record.address
