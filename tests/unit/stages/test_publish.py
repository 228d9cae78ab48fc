from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from optikit.errors import DiskFull, OptikitError
from optikit.spec.record import Trial, TuneRecord
from optikit.spec.serving import ServingConfig
from optikit.stages.publish import STAGE, published_name
from tests.unit.stages.publish_case import (
    Case,
    plan,
    trial,
)


def test_the_winner_ships_with_its_certificate(case: Case) -> None:
    record = case.run()
    assert record.bundle == str(case.bundle)
    assert (record.model_name, record.model_version) == ("m-int_w8a8", "1")
    assert record.trial == "t0"
    assert {p.name for p in case.bundle.iterdir()} == {
        *("model", "serving.yaml", "certificate.json", "serve.sh", "README.md", "LICENSE"),
        "provenance.json",
    }
    certificate = case.certificate()
    assert (certificate.status, certificate.rate_rps) == ("preliminary", 4.0)
    assert certificate.model_digest == case.compressed.digest
    assert certificate.serving is not None
    assert certificate.serving.max_num_seqs == 16
    assert certificate.command[4:6] == ("model", "--listen=127.0.0.1:8000")
    assert certificate.hardware["cores"]
    assert certificate.quality is not None


def test_the_model_is_linked_not_copied(case: Case) -> None:
    case.run()
    for name in ("model.safetensors", "config.json"):
        here = (case.bundle / "model" / name).stat()
        assert here.st_ino == (Path(case.compressed.path) / name).stat().st_ino


def test_the_model_is_copied_where_links_cannot_be(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("optikit.stages._bundle.os.link", refuse)
    record = STAGE.run(
        replace(case.tools, models=cast(Any, Registry())), case.inputs, case.plan, "digest"
    )
    assert record.model_version == "5"
    weights = case.bundle / "model" / "model.safetensors"
    source = Path(case.compressed.path) / "model.safetensors"
    assert weights.read_bytes() == source.read_bytes()
    assert weights.stat().st_ino != source.stat().st_ino


class Registry:
    """A registry without files."""

    def list(self) -> list[Any]:
        return []

    def add(self, path: Path, name: str, version: None, tags: dict[str, str], **_: Any) -> Any:
        return type("Registered", (), {"version": "5"})


def test_serve_sh_knows_no_absolute_model_path(case: Case) -> None:
    case.run()
    script = (case.bundle / "serve.sh").read_text()
    assert os.access(case.bundle / "serve.sh", os.X_OK)
    assert str(case.journal.home) not in script
    assert '--model \\\n    "$here/model"' in script
    assert '--listen="$HOST":"$PORT"' in script
    assert "recorded='/a python'" in script
    assert "export THREADS=1" in script
    assert "--seqs \\\n    16" in script


def test_serving_yaml_has_the_exact_arguments(case: Case) -> None:
    case.run()
    facts = yaml.safe_load((case.bundle / "serving.yaml").read_text())
    assert facts["arguments"] == list(case.certificate().command)
    assert facts["environment"] == {"THREADS": "1"}
    assert facts["engine"] == {"name": "fake", "version": "1.0"}
    assert ServingConfig.parse(facts["serving"]) == case.certificate().serving
    assert facts["slo"] == ["p95(e2e) <= 500 ms"]


def test_the_readme_says_the_verdict_and_the_figures(case: Case) -> None:
    case.run()
    text = (case.bundle / "README.md").read_text()
    assert "**PRELIMINARY: 4 requests/s hold the SLO (0 requests seen at that rate, 60 in" in text
    assert "| licence | Apache-2.0 |" in text
    assert "| recipe | int_w8a8 |" in text
    assert "kept: as seen" in text


def test_a_second_run_replaces_the_bundle_and_keeps_the_version(case: Case) -> None:
    first = case.run()
    (case.bundle / "stray").write_text("x")
    second = case.run()
    assert second.model_version == first.model_version == "1"
    assert not (case.bundle / "stray").exists()
    assert [p.name for p in case.bundle.parent.iterdir()] == ["j1"]
    assert len(case.tools.models.list()) == 1


def test_another_job_gets_the_next_version(case: Case) -> None:
    case.run()
    case.journal.job_id = "j2"
    assert case.run().model_version == "2"


@pytest.mark.parametrize("at", ["write_text", "link_tree"])
def test_a_failure_leaves_no_half_bundle(
    case: Case, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    case.run()
    before = (case.bundle / "certificate.json").read_text()

    def full(*args: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"optikit.stages.publish.{at}", full)
    with pytest.raises(DiskFull, match="No space"):
        case.run()
    assert (case.bundle / "certificate.json").read_text() == before
    case.journal.job_id = "j2"
    with pytest.raises(DiskFull, match="No space"):
        case.run()
    assert [p.name for p in case.bundle.parent.iterdir()] == ["j1"]


def test_what_a_killed_process_left_is_removed(case: Case) -> None:
    left = case.bundle.parent / ".j1.abc"
    left.mkdir(parents=True)
    case.run()
    assert not left.exists()


def test_an_infeasible_slo_is_labelled_and_not_registered(case: Case) -> None:
    record = case.run(
        benchmark=case.benchmarked(trial("b1", case.compressed, "compressed", None)),
        tune=TuneRecord(inputs_digest="d", trials=(), winner=None),
    )
    assert record.bundle == str(case.bundle)
    assert record.model_version is None
    assert case.certificate().status == "negative"
    text = (case.bundle / "README.md").read_text()
    assert "**NEGATIVE, do not deploy: p95(e2e) is 900 ms**" in text
    assert case.tools.models.list() == []
    assert case.tracker.told[0]["bundle"] is None
    assert case.tracker.told[0]["tags"]["status"] == "negative"


def test_a_lost_quality_without_fallback_publishes_nothing(case: Case) -> None:
    record = case.run(evaluate=case.gate("lost"))
    assert (record.bundle, record.model_version, record.trial) == (None, None, None)
    assert not case.bundle.exists()
    assert case.tracker.told[0]["bundle"] is None


def test_a_lost_quality_with_fallback_ships_the_uncompressed_model(case: Case) -> None:
    case.plan = plan(fallback="baseline")
    record = case.run(
        evaluate=case.gate("lost"), tune=TuneRecord(inputs_digest="d", trials=(), winner="b0")
    )
    assert record.model_name == "m-uncompressed"
    assert record.trial == "b0"
    assert case.certificate().model_digest == case.fetched.digest
    assert case.certificate().recipe == "none"
    assert case.certificate().quality is None
    assert (case.bundle / "model" / "LICENSE").is_file()


def test_a_model_that_the_engine_never_served_is_no_bundle(case: Case) -> None:
    measured = trial("b1", case.compressed, "compressed", None)
    failed = measured.model_copy(update={"rate": None, "error": "engine died"})
    record = case.run(benchmark=case.benchmarked(failed), tune=None)
    assert record.bundle is None
    assert ("note", {"text": "no bundle: the engine was never seen serving it: engine died"}) in (
        case.journal.events
    )


def test_a_flow_that_measures_nothing_claims_no_rate(case: Case) -> None:
    case.plan = plan(flow="quantize")
    record = case.run(benchmark=None, tune=None)
    assert record.model_version == "1"
    assert record.certificate_digest is None
    assert not (case.bundle / "certificate.json").exists()
    assert "**Not measured" in (case.bundle / "README.md").read_text()
    facts = yaml.safe_load((case.bundle / "serving.yaml").read_text())
    assert ServingConfig.parse(facts["serving"]) == case.plan.serving


def test_a_trial_of_another_model_is_refused(case: Case) -> None:
    other = trial("b1", case.fetched, "compressed", 2.0)
    with pytest.raises(OptikitError, match="run the job again"):
        case.run(benchmark=case.benchmarked(other), tune=None)
    assert not case.bundle.exists()


@pytest.mark.parametrize("error", [OptikitError("no database"), OSError("disk")])
def test_a_tracker_that_fails_costs_the_job_nothing(case: Case, error: Exception) -> None:
    case.tracker.error = error
    record = case.run()
    assert record.model_version == "1"
    assert case.bundle.is_dir()
    assert "tracker_failed" in case.journal.kinds()


def test_the_tracker_is_told_all_trials_and_figures(case: Case) -> None:
    case.run()
    (told,) = case.tracker.told
    assert [t.id for t in told["trials"]] == ["b0", "b1", "t0"]
    assert told["metrics"]["rate_rps"] == 4.0
    assert told["metrics"]["corner.both.gain"] == pytest.approx(4.0 / 3.0)
    assert told["params"]["slo"] == "p95(e2e) <= 500 ms"
    assert told["bundle"] == case.bundle


def test_names_stay_within_the_registrys_bound() -> None:
    assert published_name("m" * 128, "int_w8a8") == "m" * 119 + "-int_w8a8"


def test_the_certificate_has_the_digest_of_the_raw_probes(case: Case) -> None:
    winner = case.inputs.tune.trials[0] if case.inputs.tune else None
    assert winner is not None
    assert winner.rate is not None
    seen = {"requests": 60, "completed": 60, "failed": 0, "offered_rps": 4.0, "achieved_rps": 4.0}
    seen |= {"output_tokens_per_s": 1.0, "total_tokens_per_s": 1.0, "duration_s": 15.0}
    probe = {
        "number": 1,
        "phase": "certify",
        "rate_rps": 4.0,
        "seed": 5,
        "verdict": "pass",
        "reason": "held",
        "raw": "probe-01.jsonl",
        "measurement": {**seen, "quantiles": [], "mean_e2e_ms": 1.0},
    }
    rate = winner.rate.model_dump(mode="json") | {"probes": [probe]}
    shown = Trial.parse(winner.model_dump(mode="json") | {"rate": rate})
    tune = TuneRecord(inputs_digest="d", trials=(shown,), winner="t0")
    case.run(tune=tune)
    assert case.certificate().archive_digest is None, "the raw file is not there"
    (case.journal.folder("trials", "t0") / "probe-01.jsonl").write_bytes(b"{}\n")
    case.run(tune=tune)
    digest = hashlib.sha256(b"{}\n").hexdigest()
    assert case.certificate().archive_digest == f"sha256:{digest}"
    assert case.certificate().seeds == (5,)
