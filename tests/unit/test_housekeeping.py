"""Taking away what may go, beside jobs that do not stand still."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from pathlib import Path

import pytest

from optikit import housekeeping
from optikit.adapters import disk
from optikit.archive import JobArchive, jobs
from optikit.errors import ArchiveError, BadInput
from optikit.housekeeping import Collected, bound_cache, collect, look
from optikit.reports.check import check_archive
from optikit.reports.disk import survey
from optikit.spec.candidate import ArtifactRef
from optikit.spec.record import FetchRecord
from optikit.spec.retention import Policy
from optikit.stores._writing import held
from optikit.stores.file import FileModelStore
from tests.models import tiny_folder
from tests.specs import small_plan
from tests.unit.reports.archive_case import driven

DAY = 86_400.0
LATER = 10 * DAY
"""After whatever a test has just made is no longer new."""
OLD = Policy(older_than_s=DAY)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def artifact(home: Path, tmp_path: Path, name: str) -> ArtifactRef:
    folder = tiny_folder(tmp_path / name)
    (folder / "notes.txt").write_text(name)
    return FileModelStore(home).take(folder)


def opened(home: Path, *models: ArtifactRef, state: str = "done") -> JobArchive:
    archive = JobArchive.create(home, small_plan(), {})
    for model in models:
        archive.commit(FetchRecord(inputs_digest="d", model=model, dataset=None))
    archive.event("state", state=state, exit_code=0, message="")
    return archive


def collected(home: Path, policy: Policy = OLD) -> Collected:
    return collect(home, *look(home, policy, time.time() + LATER))


def test_an_old_job_goes_with_its_model_and_others_stay(home: Path, tmp_path: Path) -> None:
    mine, shared = artifact(home, tmp_path, "mine"), artifact(home, tmp_path, "shared")
    old, failed = opened(home, mine, shared), opened(home, shared, state="failed")
    done = collected(home)
    assert {item.name for item in done.removed} == {
        old.job_id,
        mine.digest.removeprefix("sha256:"),
    }
    assert done.freed_bytes > 0
    assert (done.spared, done.failed) == ((), ())
    assert [job.job_id for job in jobs(home)] == [failed.job_id]
    assert not Path(mine.path).exists()
    assert Path(shared.path).exists()
    assert [path for path in home.rglob("*") if ".trash" in path.parts and path.is_file()] == []


def test_looking_touches_nothing(home: Path, tmp_path: Path) -> None:
    opened(home, artifact(home, tmp_path, "one"))
    before = sorted(home.rglob("*"))
    _, decision = look(home, OLD, time.time() + LATER)
    assert len(decision.remove) == 2
    assert sorted(home.rglob("*")) == before


def test_a_whole_published_job_stays_and_still_checks_clean(home: Path) -> None:
    archive = driven(home)
    bundle = home / "bundles" / archive.job_id
    done = collected(home, Policy(older_than_s=0, shipped_only=True))
    assert done.removed == ()
    assert check_archive(archive).clean
    disk.delete(bundle)
    assert [item.name for item in collected(home).removed] == [archive.job_id]


def test_a_job_that_was_resumed_meanwhile_is_spared(home: Path) -> None:
    archive = opened(home, state="failed")
    asked = look(home, Policy(states=frozenset({"failed"})))
    archive.event("state", state="running", pid=1)
    done = collect(home, *asked)
    assert done.removed == ()
    assert [(item.name, why) for item, why in done.spared] == [
        (archive.job_id, "its journal went on meanwhile")
    ]
    assert archive.whole


def test_a_driver_that_begins_meanwhile_keeps_the_job(home: Path) -> None:
    archive = opened(home, state="failed")
    archive.folder("candidates", "c0").joinpath("x").write_text("x")
    asked = look(home, Policy(states=frozenset({"failed"})))
    assert {item.kind for item in asked[1].remove} == {"job", "leftover"}
    lock = archive.lock_driver()
    try:
        done = collect(home, *asked)
    finally:
        os.close(lock)
    assert [why for _, why in done.spared] == ["its driver began meanwhile"] * 2
    assert (archive.root / "candidates" / "c0" / "x").exists()


def test_a_driver_that_comes_too_late_finds_no_job(home: Path) -> None:
    archive = opened(home, state="failed")
    collected(home, Policy(states=frozenset({"failed"})))
    with pytest.raises((ArchiveError, FileNotFoundError)):
        archive.lock_driver()
    assert not archive.root.exists(), "nothing of it comes back"


def test_a_bundle_that_appears_meanwhile_keeps_the_job(home: Path) -> None:
    archive = opened(home)
    asked = look(home, OLD, time.time() + LATER)
    (home / "bundles" / archive.job_id).mkdir(parents=True)
    assert collect(home, *asked).removed == ()
    assert archive.whole


def test_an_artifact_that_is_taken_again_meanwhile_is_spared(home: Path, tmp_path: Path) -> None:
    model = artifact(home, tmp_path, "one")
    asked = look(home, OLD, time.time() + LATER)
    assert [item.kind for item in asked[1].remove] == ["artifact"]
    time.sleep(0.02)  # file times are that coarse
    assert FileModelStore(home).take(tmp_path / "one") == model
    done = collect(home, *asked)
    assert [why for _, why in done.spared] == ["somebody took it meanwhile"]
    assert Path(model.path).is_dir()


def test_whoever_takes_what_has_just_gone_copies_it_anew(home: Path, tmp_path: Path) -> None:
    model = artifact(home, tmp_path, "one")
    assert [item.kind for item in collected(home).removed] == ["artifact"]
    assert FileModelStore(home).take(tmp_path / "one") == model
    assert Path(model.path).is_dir()


def test_an_artifact_waits_for_whoever_is_taking_it(home: Path, tmp_path: Path) -> None:
    """Looking, touching and renaming never mix."""
    model = artifact(home, tmp_path, "one")
    digest, path = model.digest.removeprefix("sha256:"), Path(model.path)
    answers: list[bool] = []
    taken_s = path.stat().st_mtime
    with held(path.parent, alone=False):
        discards = threading.Thread(
            target=lambda: answers.append(FileModelStore(home).discard(digest, taken_s))
        )
        discards.start()
        discards.join(0.1)
        assert discards.is_alive(), "it waits"
        os.utime(path)  # what a taker does under its lock
        assert path.is_dir()
    discards.join(30)
    assert answers == [False]
    assert path.is_dir()


def test_what_a_killed_one_left_the_next_one_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = opened(home)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(housekeeping, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        collected(home)
    monkeypatch.undo()
    assert jobs(home) == []
    assert len(list((home / "jobs" / ".trash").iterdir())) == 1
    done = collected(home, Policy())
    assert [item.kind for item in done.removed] == ["leftover"]
    assert list((home / "jobs" / ".trash").iterdir()) == []
    assert not archive.root.exists()


def test_one_that_cannot_be_removed_stops_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = opened(home), opened(home)
    real = disk.put_away

    def stuck(folder: Path) -> Path:
        if folder.name == first.job_id:
            raise ArchiveError("cannot remove it: Permission denied")
        return real(folder)

    monkeypatch.setattr(housekeeping, "put_away", stuck)
    done = collected(home)
    assert [item.name for item in done.removed] == [second.job_id]
    assert [(item.name, why) for item, why in done.failed] == [
        (first.job_id, "cannot remove it: Permission denied")
    ]


def test_two_at_once_are_one(home: Path) -> None:
    opened(home)
    handle = os.open(home / ".gc.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(ArchiveError, match="another `optikit archive gc`"):
            collected(home)
    finally:
        os.close(handle)


def test_what_goes_of_a_job_that_stays_is_written_down_and_not_missed(
    home: Path, tmp_path: Path
) -> None:
    model = artifact(home, tmp_path, "one")
    archive = opened(home, model)
    (home / "bundles" / archive.job_id).mkdir(parents=True)
    assert any(
        f.where.startswith("the fetched model") for f in check_archive(archive).findings
    ) is (False), "while it is there nothing is missed"
    done = collected(home, Policy(shipped_only=True))
    assert [item.kind for item in done.removed] == ["artifact"]
    (said,) = archive.of_kind("collected")
    assert said["artifacts"] == [model.digest.removeprefix("sha256:")]
    missed = [f for f in check_archive(archive).findings if f.kind == "missing"]
    assert [f for f in missed if "fetched model" in f.where] == []


def test_a_model_that_somebody_else_removed_is_missed(home: Path, tmp_path: Path) -> None:
    model = artifact(home, tmp_path, "one")
    archive = opened(home, model)
    disk.delete(Path(model.path))
    missed = [f for f in check_archive(archive).findings if f.kind == "missing"]
    assert any("fetched model" in f.where for f in missed)


def fetched(home: Path, *models: ArtifactRef) -> None:
    (home / "remote").mkdir(parents=True, exist_ok=True)
    for number, model in enumerate(models):
        (home / "remote" / f"{number}.json").write_text(json.dumps({"digest": model.digest}))
        os.utime(model.path, (time.time() - LATER + number,) * 2)


def notes(archive: JobArchive) -> list[str]:
    return [event["text"] for event in archive.of_kind("note")]


def test_what_comes_from_elsewhere_stays_within_its_bound(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = artifact(home, tmp_path, "first"), artifact(home, tmp_path, "second")
    old = opened(home, first, second)
    fetched(home, first, second)
    coming = JobArchive.create(home, small_plan(), {})
    bound_cache(coming, 10**9)  # no bound is set
    assert Path(first.path).exists()
    size = sum(seen.bytes for seen in survey(home).artifacts)
    monkeypatch.setenv("OPTIKIT_CACHE_MAX", f"{size}B")
    bound_cache(coming, 1)
    assert (Path(first.path).exists(), Path(second.path).exists()) == (False, True)
    assert notes(coming) == [
        f"1 artifacts of other jobs left the cache (OPTIKIT_CACHE_MAX={size}B)"
    ]
    assert [event["artifacts"] for event in old.of_kind("collected")] == [
        [first.digest.removeprefix("sha256:")]
    ]
    bound_cache(coming, 10 * size)
    assert not Path(second.path).exists()
    assert "over OPTIKIT_CACHE_MAX" in notes(coming)[-1]


def test_a_bound_that_is_no_size_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIKIT_CACHE_MAX", "much")
    with pytest.raises(BadInput, match="OPTIKIT_CACHE_MAX: 'much' is no size"):
        bound_cache(JobArchive.create(home, small_plan(), {}), 1)
