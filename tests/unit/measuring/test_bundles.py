"""A bundle is found as jobs are, and is refused where it is not what was certified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from optikit.archive import JobArchive
from optikit.errors import BadInput, UnknownName, UnsafeInput
from optikit.exports.base import DeploySettings
from optikit.measuring.bundles import export_bundle, open_bundle
from optikit.spec.record import PublishRecord
from tests.bundles import archived, write_bundle
from tests.specs import small_plan
from tests.unit.stages.publish_case import Case, case

__all__ = ["case"]


@pytest.mark.parametrize("what", ["job-1", "job-", "last"])
def test_a_job_is_named_as_everywhere(tmp_path: Path, what: str) -> None:
    folder = archived(tmp_path)
    found = open_bundle(what, tmp_path)
    assert Path(found.folder) == folder
    assert found.certified
    assert found.certificate is not None
    assert found.facts.arguments == found.certificate.command


def test_last_is_the_newest_job(tmp_path: Path) -> None:
    archived(tmp_path, "job-1")
    archived(tmp_path, "job-2", used=4)
    assert open_bundle("last", tmp_path).facts.devices.used == 4


def test_a_folder_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert open_bundle("mine", tmp_path / "no home").folder == str(tmp_path / "mine")
    with pytest.raises(BadInput, match="is no bundle"):
        open_bundle(str(tmp_path), tmp_path)


def test_what_the_stage_publishes_is_read_back(case: Case) -> None:
    case.run()
    found = open_bundle(str(case.bundle), case.journal.home)
    assert found.certificate == case.certificate()
    assert found.facts.arguments == case.certificate().command
    assert found.facts.environment == {"THREADS": "1"}
    (published,) = [facts for kind, facts in case.journal.events if kind == "published"]
    assert published["files"]["certificate.json"] == found.certificate_digest


def test_an_unknown_job_is_one_line_with_the_nearest(tmp_path: Path) -> None:
    archived(tmp_path)
    with pytest.raises(UnknownName, match="no bundle at bundles/job-1: there is no such folder"):
        open_bundle("bundles/job-1", tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'job-1'"):
        open_bundle("jop-1", tmp_path)


def test_a_job_that_has_not_published_says_where_to_look(tmp_path: Path) -> None:
    JobArchive.create(tmp_path, small_plan(), {}, "job-1")
    with pytest.raises(BadInput, match="published nothing yet; `optikit status job-1`"):
        open_bundle("job-1", tmp_path)


def test_a_flow_that_publishes_nothing_is_named(tmp_path: Path) -> None:
    JobArchive.create(tmp_path, small_plan(flow="benchmark"), {}, "job-1")
    with pytest.raises(BadInput, match="the flow benchmark publishes none"):
        open_bundle("job-1", tmp_path)


def test_a_job_without_a_bundle_says_where_to_look(tmp_path: Path) -> None:
    archive = JobArchive.create(tmp_path, small_plan(), {}, "job-1")
    record = PublishRecord(
        inputs_digest="d",
        bundle=None,
        model_name="m",
        model_version=None,
        trial=None,
        certificate_digest=None,
    )
    archive.commit(record)
    with pytest.raises(BadInput, match=r"has no bundle.*optikit show job-1"):
        open_bundle("job-1", tmp_path)


def test_a_bundle_that_was_moved_away_is_named(tmp_path: Path) -> None:
    folder = archived(tmp_path)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="is gone from"):
        open_bundle("job-1", tmp_path)
    assert open_bundle(str(tmp_path / "elsewhere"), tmp_path).certified


def rewrite(file: Path, **changes: Any) -> None:
    """Other facts in ``serving.yaml``."""
    facts = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**facts, **changes}, sort_keys=False))


@pytest.mark.parametrize("name", ["serving.yaml", "certificate.json"])
def test_a_file_that_changed_since_is_refused(tmp_path: Path, name: str) -> None:
    file = archived(tmp_path) / name
    file.write_text(file.read_text() + "\n")
    with pytest.raises(BadInput, match=f"{name} is not what job job-1 published"):
        open_bundle("job-1", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": ["python", "-m", "http.server"]},
        {"engine": {"name": "vllm", "version": "0.33.0"}},
        {"status": "preliminary"},
        {"simulated": True},
        {"devices": {"sku": "A100_8", "used": 2}},
        {"devices": {"sku": "H100_8", "used": 1}},
    ],
)
def test_what_would_be_served_must_be_what_was_certified(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder = write_bundle(tmp_path / "mine")
    rewrite(folder / "serving.yaml", **changes)
    with pytest.raises(BadInput, match="not what was certified"):
        open_bundle(str(folder), tmp_path)


def test_a_certificate_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "mine")
    (folder / "certificate.json").unlink()
    with pytest.raises(BadInput, match=r"says certified, but there is no .*certificate\.json"):
        open_bundle(str(folder), tmp_path)


@pytest.mark.parametrize("text", ["", "a: b", "engine: [1]\narguments: x", "{"])
def test_a_damaged_bundle_is_one_error(tmp_path: Path, text: str) -> None:
    folder = write_bundle(tmp_path / "mine")
    (folder / "serving.yaml").write_text(text)
    with pytest.raises(BadInput, match="damaged, or of another OptiKIT"):
        open_bundle(str(folder), tmp_path)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("preliminary", "preliminary: 4.25 requests/s"),
        ("negative", "negative, infeasible: p95"),
        (None, "not measured"),
    ],
)
def test_what_is_not_certified_goes_out_only_when_asked(
    tmp_path: Path, status: str | None, words: str
) -> None:
    archived(tmp_path, status=status)
    with pytest.raises(BadInput, match=rf"not certified \({words}.*--allow-uncertified"):
        export_bundle("kubernetes", "job-1", tmp_path)
    text = export_bundle("kubernetes", "job-1", tmp_path, allow_uncertified=True)
    assert "NOT CERTIFIED" in text


def test_a_simulated_bundle_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    archived(tmp_path, simulated=True)
    for allowed in (False, True):
        with pytest.raises(BadInput, match="simulated: it holds no model"):
            export_bundle("command", "job-1", tmp_path, allow_uncertified=allowed)


def test_a_model_that_is_not_there_must_be_named(tmp_path: Path) -> None:
    folder = archived(tmp_path)
    (folder / "model").rmdir()
    for target in ("command", "kubernetes"):
        with pytest.raises(BadInput, match="--model-path"):
            export_bundle(target, "job-1", tmp_path)
    text = export_bundle("command", "job-1", tmp_path, DeploySettings(model_path="/m"))
    assert "--model /m" in text
    with pytest.raises(BadInput, match="relative"):
        export_bundle("command", "job-1", tmp_path, DeploySettings(model_path="m"))


def test_what_a_target_does_not_read_is_refused_not_ignored(tmp_path: Path) -> None:
    archived(tmp_path)
    with pytest.raises(BadInput, match="--claim, --replicas means nothing to the target command"):
        export_bundle("command", "job-1", tmp_path, DeploySettings(claim="x", replicas=2))


def test_a_command_of_another_engine_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "mine")
    engine = {"name": "other", "version": "0.32.0"}
    rewrite(folder / "serving.yaml", engine=engine)
    with pytest.raises(BadInput, match="served by other"):
        export_bundle("command", str(folder), tmp_path)


@pytest.mark.parametrize("change", ["--model", "-m", "short"])
def test_a_command_that_optikit_does_not_write_is_refused(tmp_path: Path, change: str) -> None:
    folder = write_bundle(tmp_path / "mine")
    proof = json.loads((folder / "certificate.json").read_text())
    words = proof["command"]
    words = words[:5] if change == "short" else ["-c" if w == change else w for w in words]
    (folder / "certificate.json").write_text(json.dumps({**proof, "command": words}))
    rewrite(folder / "serving.yaml", arguments=words)
    with pytest.raises(BadInput, match="not those of a server that OptiKIT starts"):
        export_bundle("command", str(folder), tmp_path)


@pytest.mark.parametrize("name", ["A B", "X;id", "", "1A", "A\n"])
def test_a_variable_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "mine", environment={name: "1"})
    with pytest.raises(BadInput, match="not those of a server that OptiKIT starts"):
        export_bundle("env", str(folder), tmp_path)


def test_a_secret_in_the_environment_is_named_and_not_told(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "mine", environment={"HF_TOKEN": "hf_verysecretvalue"})
    with pytest.raises(UnsafeInput, match="HF_TOKEN") as told:
        export_bundle("kubernetes", str(folder), tmp_path)
    assert "verysecret" not in str(told.value)


def test_a_job_spec_target_takes_no_bundle(tmp_path: Path) -> None:
    archived(tmp_path)
    with pytest.raises(BadInput, match="job spec"):
        export_bundle("rayjob", "job-1", tmp_path)
