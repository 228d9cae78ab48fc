"""Archives to a folder and back; buckets and HDFS are in tests/integration/test_elsewhere.py."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optikit.archive import JobArchive, jobs
from optikit.elsewhere import _must_be_names, pull_archive, push_archive
from optikit.errors import ArchiveError, BadInput, OptikitError, UnsafeInput
from optikit.jobs import Job, leftovers
from optikit.journal import append_line, now, sealed
from optikit.reports.check import check_archive
from optikit.reports.summary import summary
from optikit.spec.endpoint import ProcessGroup
from tests.specs import small_plan


@pytest.fixture
def archive(tmp_path: Path) -> JobArchive:
    """A job that failed, on another machine as it were."""
    found = JobArchive.create(tmp_path / "one", small_plan(), {"folder": "."}, "job-1")
    found.event("state", state="running", pid=1, pool="inline")
    (found.folder("trials", "t00") / "engine.log").write_text("Starting\n")
    found.folder("candidates", "c0").joinpath("w.safetensors").write_bytes(b"half")
    (found.root / "driver.lock").touch()
    (found.root / "link").symlink_to("/etc/passwd")
    found.event("state", state="failed", exit_code=1, message="it broke")
    return found


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "a bucket"


def rewritten(folder: Path) -> None:
    """The list of what lies there now: a stranger's archive, whole by its own word."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n"
        for p in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_what_was_pushed_is_pulled_and_the_same(
    archive: JobArchive, there: Path, tmp_path: Path
) -> None:
    pushed = push_archive("last", there.as_uri(), archive.home)
    assert pushed.address.startswith(f"{there.as_uri()}/job-1/SHA256SUMS#sha256=")
    names = {p.relative_to(there / "job-1").as_posix() for p in (there / "job-1").rglob("*")}
    assert names - {"trials", "trials/t00"} == {
        *("plan.json", "job.json", "environment.json", "journal.jsonl", "SHA256SUMS"),
        "trials/t00/engine.log",
    }
    pulled = pull_archive(pushed.address, tmp_path / "two")
    assert (pulled.job_id, pulled.moved) == ("job-1", True)
    (mine,) = jobs(tmp_path / "two")
    assert mine.journal.read_bytes() == archive.journal.read_bytes()
    assert {**summary(mine), "archive": ""} == {**summary(archive), "archive": ""}
    assert mine.pulled
    assert check_archive(mine).clean
    assert [p.name for p in (tmp_path / "two" / "jobs").iterdir()] == ["job-1"]
    again = pull_archive(pushed.address, tmp_path / "two")
    assert not again.moved


def test_a_pulled_job_is_not_of_this_machine(
    archive: JobArchive, there: Path, tmp_path: Path
) -> None:
    """Its process groups are another machine's: here they may be anybody's."""
    mine = ProcessGroup(pgid=os.getpgrp(), started_ticks=1, boot_id="x", what="server")
    archive.event("process_group", group=mine.model_dump(mode="json"))
    address = push_archive("job-1", str(there), archive.home).address
    pull_archive(address, tmp_path / "two")
    assert leftovers(tmp_path / "two") == []
    with pytest.raises(BadInput, match="ran elsewhere, where alone it can be resumed"):
        Job.open("job-1", tmp_path / "two").resume()


def test_a_job_that_goes_on_is_not_pushed(tmp_path: Path, there: Path) -> None:
    running = JobArchive.create(tmp_path / "one", small_plan(), {}, "job-2")
    with pytest.raises(BadInput, match="job-2 is starting"):
        push_archive("job-2", str(there), running.home)
    assert not there.exists()


def test_a_longer_history_of_the_same_job_is_pushed_over_it(
    archive: JobArchive, there: Path
) -> None:
    first = push_archive("job-1", str(there), archive.home)
    archive.event("state", state="cancelled", exit_code=130)
    second = push_archive("job-1", str(there), archive.home)
    assert first.address != second.address
    with pytest.raises(BadInput, match="it was changed since"):
        pull_archive(first.address, there / "home")
    with pytest.raises(BadInput, match="differs: an archive is never written over"):
        pull_archive(second.address, fork(archive, there))


def fork(archive: JobArchive, there: Path) -> Path:
    """A home with a job of the same id that went another way."""
    other = JobArchive.create(there / "other", small_plan(), {"folder": "x"}, archive.job_id)
    other.event("state", state="cancelled", exit_code=130)
    return other.home


def test_another_job_of_the_same_id_is_never_written_over(
    archive: JobArchive, there: Path, tmp_path: Path
) -> None:
    push_archive("job-1", str(there), archive.home)
    kept = (there / "job-1" / "journal.jsonl").read_bytes()
    with pytest.raises(BadInput, match="holds another archive of the id job-1"):
        push_archive("job-1", str(there), fork(archive, tmp_path))
    assert (there / "job-1" / "journal.jsonl").read_bytes() == kept


@pytest.mark.parametrize(
    ("harm", "kind", "why"),
    [
        (lambda f: (f / "plan.json").write_text("{}"), BadInput, "is not what its place says"),
        (lambda f: (f / "job.json").unlink(), BadInput, r"is not whole: it lacks job\.json"),
        (lambda f: (f / "SHA256SUMS").unlink(), BadInput, "has no SHA256SUMS"),
        (
            lambda f: (f / "SHA256SUMS").write_text(f"{'0' * 64}  ../../x\n"),
            UnsafeInput,
            "the list has the line",
        ),
        (lambda f: listed(f, "pulled.json"), UnsafeInput, "is no file of an archive"),
        (lambda f: listed(f, "trials/.hidden"), UnsafeInput, "is no file of an archive"),
        (lambda f: listed(f, "trials/a\\b"), UnsafeInput, "is no file of an archive"),
        (lambda f: listed(f, "driver.lock"), UnsafeInput, "is no file of an archive"),
        (lambda f: planned(f, "{}"), OptikitError, "plan.json"),
        (lambda f: told(f, {"kind": "state", "state": "running"}), ArchiveError, "had not ended"),
        (lambda f: told(f, {"kind": "probe", "trial": "../../../etc"}), UnsafeInput, "no file of"),
        (lambda f: told(f, {"kind": "probe", "raw": "/etc/passwd"}), UnsafeInput, "no file of it"),
    ],
)
def test_a_strangers_archive_is_refused_and_leaves_nothing(
    archive: JobArchive,
    there: Path,
    tmp_path: Path,
    harm: Callable[[Path], Any],
    kind: type[Exception],
    why: str,
) -> None:
    push_archive("job-1", str(there), archive.home)
    harm(there / "job-1")
    with pytest.raises(kind, match=why):
        pull_archive(f"{there}/job-1", tmp_path / "two")
    assert jobs(tmp_path / "two") == []
    assert not (tmp_path / "two" / "jobs" / "job-1").exists()
    assert {p.name for p in tmp_path.iterdir()} <= {"one", "two", "a bucket"}


def listed(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    rewritten(folder)


def planned(folder: Path, text: str) -> None:
    (folder / "plan.json").write_text(text)
    rewritten(folder)


def told(folder: Path, event: dict[str, Any]) -> None:
    append_line(folder / "journal.jsonl", sealed({**now(), **event}))
    rewritten(folder)


@pytest.mark.parametrize("uri", ["s3://bucket/NOT AN ID", "file:///x/..", "/x/UPPER", "x#sha256=1"])
def test_what_is_no_address_of_an_archive(uri: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        pull_archive(uri, tmp_path)


@pytest.mark.parametrize("names", [["x", "x/y"], ["a/b/c", "a"], ["a//b"], [""], ["a\x1b[2J"]])
def test_names_that_would_lie_in_each_other_or_act_on_a_terminal(names: list[str]) -> None:
    with pytest.raises(UnsafeInput, match="is no file of an archive"):
        _must_be_names(names, "there")
    _must_be_names(["x", "y/z", "quality/c0/a task: 1.json"], "there")
