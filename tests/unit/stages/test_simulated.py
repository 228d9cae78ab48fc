"""A simulated job's stages: no weights, no calibration text, no devices, nothing to score."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from optikit.api import Submitter, load_job
from optikit.core.candidates import predicted_request_s
from optikit.jobs import default_pool
from optikit.spec.flow import STAGE_ORDER
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.record import CompressRecord, EvaluateRecord, FetchRecord
from optikit.spec.simulated import MODEL_FILE, SimulatedModel
from optikit.stages import _simulated
from optikit.stages._bundle import write_text
from optikit.stages._simulated import keep
from optikit.stages.base import Inputs, Tools, resources_for
from optikit.stages.compress import STAGE as COMPRESS
from optikit.stages.evaluate import STAGE as EVALUATE
from optikit.stages.fetch import STAGE as FETCH
from tests.unit.stages.publish_case import Case, Journal, trial


def plan(home: Path, **spec: Any) -> Plan:
    return Submitter(home).plan(
        OptimizationJob.parse(
            {
                "model": {"name": "qwen-2.5-7b"},
                "engine": "simulated",
                "compute": {"sku": "H100_2"},
                "slo": ["p95(e2e) <= 500 ms"],
                **spec,
            }
        )
    )


def tools(home: Path) -> Tools:
    """Nothing but a journal: whoever reaches for a pool, an engine or a store fails."""
    nothing = cast(Any, None)
    return Tools(cast(Any, Journal(home)), *[nothing] * 13)


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Plan, FetchRecord, CompressRecord]:
    job, use = plan(tmp_path), tools(tmp_path)
    fetched = FETCH.run(use, Inputs(), job, "d")
    return job, fetched, COMPRESS.run(use, Inputs(fetch=fetched), job, "d")


def test_shape_and_recipe_stand_for_the_checkpoints(
    prepared: tuple[Plan, FetchRecord, CompressRecord],
) -> None:
    job, fetched, compressed = prepared
    (candidate,) = compressed.candidates
    assert (candidate.id, candidate.samples, candidate.wall_s) == ("c0-int_w8a8", 0, 0.0)
    assert candidate.model is not None
    for artifact, recipe in ((fetched.model, None), (candidate.model, job.recipe)):
        text = (Path(artifact.path) / MODEL_FILE).read_bytes()
        found = SimulatedModel.parse(json.loads(text))
        assert (found.shape, found.recipe, found.sku) == (job.shape, recipe, job.sku)
        assert artifact.digest == f"sha256:{hashlib.sha256(text).hexdigest()}"
        assert artifact.size_bytes == len(text)
        assert Path(artifact.path).name == artifact.digest.removeprefix("sha256:")
    assert fetched.model.digest != candidate.model.digest
    assert fetched.dataset is None


def test_the_same_model_is_kept_once_and_a_damaged_one_is_written_anew(tmp_path: Path) -> None:
    job, use = plan(tmp_path), tools(tmp_path)
    first = FETCH.run(use, Inputs(), job, "d").model
    file = Path(first.path) / MODEL_FILE
    inode = file.stat().st_ino
    assert FETCH.run(use, Inputs(), job, "d").model == first
    assert file.stat().st_ino == inode
    file.chmod(0o644)
    file.write_text("{")
    assert FETCH.run(use, Inputs(), job, "d").model == first
    assert SimulatedModel.parse(json.loads(file.read_text())).shape == job.shape


def test_nothing_is_scored_and_the_candidate_goes_on(
    tmp_path: Path, prepared: tuple[Plan, FetchRecord, CompressRecord]
) -> None:
    job, fetched, compressed = prepared
    use = tools(tmp_path)
    record = EVALUATE.run(use, Inputs(fetch=fetched, compress=compressed), job, "d")
    (verdict,) = record.verdicts
    assert (verdict.verdict, verdict.tasks) == ("cannot tell", ())
    assert verdict.reason == "simulated: there is no model to score"
    assert record.chosen == "c0-int_w8a8"
    assert cast(Any, use.journal).kinds() == ["quality", "note"]


def test_no_device_of_this_machine_is_asked_for(tmp_path: Path) -> None:
    job = plan(tmp_path)
    asked = resources_for(job, 2)
    assert (asked.cpus, asked.gpus, asked.accelerator) == (1.0, 0, None)
    assert resources_for(job.model_copy(update={"simulated": False}), 2).gpus == 2
    assert default_pool(job) == "inline"
    assert default_pool(job.model_copy(update={"simulated": False})) == "ray"


def test_the_bundle_says_simulated_and_holds_no_model(
    case: Case, prepared: tuple[Plan, FetchRecord, CompressRecord]
) -> None:
    job, fetched, compressed = prepared
    candidate = compressed.candidates[0]
    assert candidate.model is not None
    case.plan = job
    gate = case.inputs.evaluate
    assert isinstance(gate, EvaluateRecord)
    shipped = trial("b1", candidate.model, "compressed", 2.0)
    case.inputs = Inputs(
        fetch=fetched,
        compress=compressed,
        evaluate=gate.model_copy(update={"chosen": candidate.id}),
        benchmark=case.benchmarked(shipped),
    )
    record = case.run()
    assert record.model_version is None, "not registered"
    assert case.tools.models.list() == []
    assert {path.name for path in case.bundle.iterdir()} == {
        *("simulated.json", "serving.yaml", "certificate.json", "serve.sh", "README.md"),
        "provenance.json",
    }
    certificate = case.certificate()
    assert certificate.simulated
    assert certificate.model_digest == candidate.model.digest
    assert "none was there" in certificate.hardware["simulated"]
    assert "65%" in certificate.hardware["assumptions"]
    said = json.loads((case.bundle / "provenance.json").read_text())
    assert said["predicate"]["buildDefinition"]["internalParameters"] == {"simulated": True}
    digest = hashlib.sha256((case.bundle / "simulated.json").read_bytes()).hexdigest()
    assert said["subject"][0] == {"name": "simulated.json", "digest": {"sha256": digest}}
    readme = (case.bundle / "README.md").read_text()
    assert readme.splitlines()[2].startswith("**SIMULATED: no server was measured.")
    assert "The model is not in this bundle" in readme
    assert yaml.safe_load((case.bundle / "serving.yaml").read_text())["simulated"] is True
    assert "SIMULATED" in (case.bundle / "serve.sh").read_text().splitlines()[1]
    told = case.tracker.told[0]
    assert told["tags"]["optikit.simulated"] == "SIMULATED"
    assert told["bundle"] is None, "no model version"


def test_a_real_jobs_bundle_is_not_marked(case: Case) -> None:
    case.run()
    assert not any(b"SIMULATED" in p.read_bytes() for p in case.bundle.iterdir() if p.is_file())
    assert "optikit.simulated" not in case.tracker.told[0]["tags"]


EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "jobs").glob("*-simulated.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_planned_without_weights(tmp_path: Path, path: Path) -> None:
    found = Submitter(tmp_path).plan(load_job(path))
    assert found.simulated
    assert found.flow.stages == STAGE_ORDER
    assert found.warnings == ()
    assert list(tmp_path.iterdir()) == [], "planning writes nothing"


def test_of_several_recipes_the_one_predicted_to_be_fastest_goes_on(tmp_path: Path) -> None:
    names = ["int_w4a16", "int_w8a8", "fp8_dynamic"]
    job, use = plan(tmp_path, flow_params={"recipe": names}), tools(tmp_path)
    fetched = FETCH.run(use, Inputs(), job, "d")
    compressed = COMPRESS.run(use, Inputs(fetch=fetched), job, "d")
    record = EVALUATE.run(use, Inputs(fetch=fetched, compress=compressed), job, "d")
    assert [v.verdict for v in record.verdicts] == ["cannot tell"] * 3
    seconds = {
        option.recipe.name: predicted_request_s(job, option)
        for option in job.options
        if option.recipe
    }
    fastest = min(names, key=lambda name: seconds[name] or 0.0)
    chosen = next(c for c in compressed.candidates if c.id == record.chosen)
    assert chosen.recipe == fastest
    narrowed = job.going_on(chosen.recipe)
    assert narrowed.recipe is not None
    assert (narrowed.recipe.name, narrowed.options) == (fastest, job.options)


def test_jobs_that_keep_the_same_model_at_once_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SimulatedModel.parse(
        json.loads(
            Path(FETCH.run(tools(tmp_path), Inputs(), plan(tmp_path), "d").model.path)
            .joinpath(MODEL_FILE)
            .read_text()
        )
    )
    home, begun = tmp_path / "other", list[Path]()

    def slow(path: Path, text: str, mode: int = 0o644) -> None:
        write_text(path, text, mode)
        if not begun:  # another job comes while this one's file is written, and is done first
            begun.append(path)
            keep(home, model)

    monkeypatch.setattr(_simulated, "write_text", slow)
    folder = Path(keep(home, model).path)
    assert begun
    assert [path.name for path in folder.iterdir()] == [MODEL_FILE]
    assert SimulatedModel.parse(json.loads((folder / MODEL_FILE).read_text())) == model
