"""What is seen on a disk, on whole simulated jobs and on what crashes leave."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.reports.disk import survey
from optikit.spec.candidate import ArtifactRef
from optikit.spec.queue import Ticket
from optikit.spec.record import FetchRecord
from optikit.stores.baselines import FileBaselines
from optikit.stores.file import FileModelStore
from tests.models import tiny_folder
from tests.specs import small_plan


def artifact(home: Path, tmp_path: Path, name: str) -> ArtifactRef:
    folder = tiny_folder(tmp_path / name)
    (folder / "notes.txt").write_text(name * 5000)
    return FileModelStore(home).take(folder)


def hexed(model: ArtifactRef) -> str:
    return model.digest.removeprefix("sha256:")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def opened(home: Path, *models: ArtifactRef, state: str | None = "done") -> JobArchive:
    archive = JobArchive.create(home, small_plan(), {})
    for model in models:
        archive.commit(FetchRecord(inputs_digest="d", model=model, dataset=None))
    if state is not None:
        archive.event("state", state=state, exit_code=0, message="")
    return archive


def test_an_empty_home() -> None:
    seen = survey(Path("/nowhere/at/all"))
    assert (seen.jobs, seen.artifacts, seen.total_bytes) == ((), (), 0)


def test_a_job_names_what_its_records_name(home: Path, tmp_path: Path) -> None:
    one, two = artifact(home, tmp_path, "one"), artifact(home, tmp_path, "two")
    archive = opened(home, one)
    seen = survey(home)
    (job,) = seen.jobs
    assert (job.id, job.state, job.held, job.published) == (archive.job_id, "done", False, False)
    assert job.names == {hexed(one)}
    assert job.last_s >= job.ended_s >= job.began_s > time.time() - 60
    assert 0 < job.bytes < seen.total_bytes
    assert {found.digest for found in seen.artifacts} == {hexed(one), hexed(two)}
    assert all(found.bytes > 5000 for found in seen.artifacts)


def test_a_damaged_line_still_names_what_it_names(home: Path, tmp_path: Path) -> None:
    model = artifact(home, tmp_path, "one")
    archive = opened(home, model)
    text = archive.journal.read_text()
    archive.journal.write_text(text.replace('"stage": "fetch"', '"stage": "fetsch'))
    assert archive.damaged_lines() == 1
    assert survey(home).jobs[0].names == {hexed(model)}


def test_a_registered_model_and_a_bundle_are_needed(home: Path, tmp_path: Path) -> None:
    store = FileModelStore(home)
    registered = store.add(tiny_folder(tmp_path / "r"), "mine", "1")
    shipped, copied = artifact(home, tmp_path, "shipped"), artifact(home, tmp_path, "copied")
    archive = opened(home, shipped)
    bundle = home / "bundles" / archive.job_id
    (bundle / "model").mkdir(parents=True)
    os.link(Path(shipped.path) / "notes.txt", bundle / "model" / "notes.txt")
    (bundle / "certificate.json").write_text(f'{{"model_digest": "{copied.digest}"}}')
    seen = survey(home)
    assert seen.registered == {registered.digest.removeprefix("sha256:")}
    assert seen.bundled == {hexed(copied)}
    assert seen.jobs[0].published
    assert seen.jobs[0].ships == {hexed(copied)}
    assert {a.digest for a in seen.artifacts if a.linked} == {hexed(shipped)}


@pytest.mark.parametrize(
    ("state", "queued", "driver", "held"),
    [
        ("done", False, False, False),
        ("done", True, False, False),
        (None, False, False, False),
        (None, True, False, True),
        ("running", False, True, True),
        ("running", False, False, False),
        ("running", True, False, True),
        ("failed", True, False, False),
    ],
)
def test_who_is_held(home: Path, state: str | None, queued: bool, driver: bool, held: bool) -> None:
    archive = opened(home, state=state)
    if queued:
        archive.enqueue(Ticket(team="t", since_s=0.0))
    lock = archive.lock_driver() if driver else None
    assert survey(home).jobs[0].held is held
    if lock is not None:
        os.close(lock)


def test_a_job_that_cannot_be_read_is_left_alone(home: Path) -> None:
    archive = opened(home, state=None)
    archive.event("state", stat="?")
    (job,) = survey(home).jobs
    assert (job.state, job.held) == ("damaged", True)


def aged(path: Path, seconds: float = 90_000) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_what_killed_processes_left_and_what_still_grows(home: Path) -> None:
    names = ("artifacts/.taking-a", "artifacts/.hub-a", f"baselines/.{'a' * 64}.x", "jobs/half-job")
    for name in (*names, *(f"{name}2" for name in names)):
        (home / name).mkdir(parents=True)
    for name in names:
        aged(home / name)
    (home / "jobs" / ".trash" / "job-1.abcd").mkdir(parents=True)
    assert set(survey(home).leftovers) == {*names, "jobs/.trash/job-1.abcd"}


def test_a_half_made_candidate_is_a_leftover_unless_somebody_makes_it(home: Path) -> None:
    archive = opened(home, state="failed")
    file = archive.folder("candidates", "c0-x") / "model.safetensors"
    file.write_bytes(b"x" * 50_000)
    seen = survey(home)
    (name,) = seen.leftovers
    assert name == f"jobs/{archive.job_id}/candidates"
    assert seen.leftovers[name] >= 50_000
    assert seen.jobs[0].bytes < 50_000, "not counted twice"
    lock = archive.lock_driver()
    assert survey(home).leftovers == {}
    os.close(lock)


def test_a_bundle_whose_replacement_never_came_is_no_leftover(home: Path) -> None:
    bundles = home / "bundles"
    for name in (".job-1.ab.old", ".job-1.ab", ".job-2.cd.old", "job-2"):
        (bundles / name).mkdir(parents=True)
        aged(bundles / name)
    assert set(survey(home).leftovers) == {"bundles/.job-1.ab", "bundles/.job-2.cd.old"}


def test_scores_are_as_old_as_their_last_use(home: Path, tmp_path: Path) -> None:
    store, key = FileBaselines(home), {"model": "m"}
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "items-1.jsonl").write_text("{}\n")
    store.keep(key, tmp_path / "scores")
    (folder,) = (home / "baselines").iterdir()
    aged(folder)
    (cache,) = survey(home).baselines
    assert cache.key == folder.name
    assert cache.used_s < time.time() - 80_000
    assert store.find(key) == folder
    assert survey(home).baselines[0].used_s > time.time() - 60


def test_it_writes_nothing(home: Path, tmp_path: Path) -> None:
    opened(home, artifact(home, tmp_path, "one"))
    before = {path: path.stat().st_mtime for path in home.rglob("*")}
    survey(home)
    assert {path: path.stat().st_mtime for path in home.rglob("*")} == before
