"""What earlier versions wrote is still read, and means what it meant (tests/written/README.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import TypeAdapter

from optikit.api import load_job
from optikit.archive import JobArchive, jobs
from optikit.cli import main
from optikit.core.schemas import schema_of
from optikit.measuring.certificates import read_certificate
from optikit.reports.summary import summary
from optikit.spec.record import StageRecord, Trial
from optikit.spec.versions import SCHEMAS

WRITTEN = Path(__file__).parent / "written"
RECORD: TypeAdapter[StageRecord | Trial] = TypeAdapter(StageRecord | Trial)
STAGES = ["fetch", "compress", "evaluate", "benchmark", "tune", "publish"]


def lost(before: Any, now: Any, where: str = "") -> list[str]:
    """What stood there and is not there any more, or is something else; more may have come."""
    if isinstance(before, dict) and isinstance(now, dict):
        missing = [f"{where}.{key} is gone" for key in before if key not in now]
        both = [key for key in before if key in now]
        return missing + [row for k in both for row in lost(before[k], now[k], f"{where}.{k}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [row for n, (one, two) in pairs for row in lost(one, two, f"{where}[{n}]")]
    return [] if before == now else [f"{where}: {before!r} became {now!r}"]


def test_what_is_lost_is_found() -> None:
    assert lost({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4}) == []
    assert lost({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == [".a[1].b: 2 became 3"]
    assert lost({"a": 1}, {}) == [".a is gone"]
    assert lost({"a": [1]}, {"a": []}) == [".a: [1] became []"]


@pytest.mark.parametrize(
    ("file", "meaning"), [("job-1.yaml", "job-1.yaml"), ("job-1-short.yaml", "job-1-short.json")]
)
def test_a_job_spec_means_what_it_meant(file: str, meaning: str) -> None:
    job = load_job(WRITTEN / file)
    assert lost(yaml.safe_load((WRITTEN / meaning).read_text()), job.model_dump(mode="json")) == []


@pytest.fixture
def archive(optikit_home: Path) -> JobArchive:
    name = "written-by-record-1"
    shutil.copytree(WRITTEN / "record-1", optikit_home / "jobs" / name)
    return JobArchive(optikit_home.resolve(), name)


def test_an_archive_is_read(archive: JobArchive) -> None:
    assert jobs(archive.home) == [archive]
    assert archive.damaged_lines() == 0
    assert list(archive.records()) == STAGES
    plan = archive.plan()
    assert (
        lost(json.loads((archive.root / "plan.json").read_text()), plan.model_dump(mode="json"))
        == []
    )
    trials = {"b0-compressed", "t00-compressed", "f0-b0-compressed", "f0-t00-compressed"}
    assert {trial.id for trial in archive.trials()} == trials
    facts = summary(archive)
    assert (facts["state"], facts["exit_code"], facts["winner"]) == (
        "done",
        0,
        "f0-b0-compressed",
    )
    assert facts["corners"]["both"]["rate_rps"] == pytest.approx(2.766, rel=1e-3)
    assert [stage["state"] for stage in facts["stages"]] == ["done"] * 6


@pytest.mark.parametrize(
    "words", [["show"], ["status"], ["trials"], ["report"], ["list"], ["archive", "gc"]]
)
def test_an_archive_is_shown(
    archive: JobArchive, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = words if len(words) > 1 or words == ["list"] else [*words, archive.job_id]
    more = ["--output", str(tmp_path / "page.md")] if words == ["report"] else ["--json"]
    assert main([*named, *more]) == 0
    said = capsys.readouterr().out + "".join(p.read_text() for p in tmp_path.glob("page.md"))
    assert archive.job_id in said or "compressed" in said


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def records() -> list[Any]:
    """Every record and trial that was ever written, as it stands in its file."""
    journal = lines(WRITTEN / "record-1" / "journal.jsonl")
    found = [event[event["kind"]] for event in journal if event["kind"] in ("record", "trial")]
    found += lines(WRITTEN / "record-1-full.jsonl")
    return [pytest.param(one, id=f"{n}-{one.get('stage', 'trial')}") for n, one in enumerate(found)]


@pytest.mark.parametrize("record", records())
def test_a_record_loses_nothing(record: dict[str, Any]) -> None:
    read = RECORD.validate_python(record)
    assert lost(record, read.model_dump(mode="json")) == []


def test_a_certificate_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    file = WRITTEN / "certificate-2.json"
    found = read_certificate(file)
    assert lost(json.loads(file.read_text()), found.model_dump(mode="json")) == []
    assert main(["certificate", "show", str(file)]) == 0
    assert "qwen-2.5-7b" in capsys.readouterr().out


def of_this_version() -> list[Any]:
    """Files of versions that are still written, which today's schemas describe."""
    found: list[tuple[str, Any]] = []
    if SCHEMAS["job"] == 1:
        found += [("job", yaml.safe_load(f.read_text())) for f in sorted(WRITTEN.glob("job-1*"))]
    if SCHEMAS["record"] == 1:
        found += [("record", param.values[0]) for param in records()]
    if SCHEMAS["certificate"] == 2:
        found.append(("certificate", json.loads((WRITTEN / "certificate-2.json").read_text())))
    return found


def test_the_schemas_describe_what_was_written() -> None:
    found = of_this_version()
    assert found
    for name, data in found:
        jsonschema.Draft202012Validator(schema_of(name)).validate(data)
