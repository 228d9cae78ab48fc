from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optikit.archive import JobArchive, digest_of, jobs, open_job
from optikit.errors import ArchiveError, BadInput, BudgetExceeded, UnknownName
from optikit.reports.page import page_of
from optikit.reports.summary import summary
from optikit.spec.candidate import ArtifactRef
from optikit.spec.record import FetchRecord, Trial
from tests.specs import small_plan


@pytest.fixture
def archive(tmp_path: Path) -> JobArchive:
    return JobArchive.create(tmp_path, small_plan(), {"folder": "."})


def fetch_record() -> FetchRecord:
    model = ArtifactRef(kind="model", digest="sha256:" + "a" * 64, path="/m", size_bytes=1)
    return FetchRecord(inputs_digest="d", model=model, dataset=None)


def test_what_is_written_is_read_back(archive: JobArchive) -> None:
    assert archive.plan() == small_plan()
    archive.commit(fetch_record())
    assert archive.records() == {"fetch": fetch_record()}
    assert pickle.loads(pickle.dumps(archive)).records() == archive.records()
    assert [job.job_id for job in jobs(archive.home)] == [archive.job_id]


def test_a_torn_line_is_no_event_and_spoils_no_other(archive: JobArchive) -> None:
    archive.event("note", text="one")
    with archive.journal.open("ab") as file:
        file.write(b'{"t": 1.0, "kind": "no')
    assert [e["kind"] for e in archive.events()] == ["created", "note"]
    archive.event("note", text="two")
    assert [e.get("text") for e in archive.events()] == [None, "one", "two"]
    assert archive.damaged_lines() == 1


def test_a_summary_says_that_its_history_is_damaged(archive: JobArchive) -> None:
    assert summary(archive)["damaged_lines"] == 0
    with archive.journal.open("ab") as file:
        file.write(b"no event\n")
    assert summary(archive)["damaged_lines"] == 1


def test_a_summary_names_the_source_and_its_licence(archive: JobArchive) -> None:
    assert summary(archive)["licence"] is None, "not fetched yet"
    archive.commit(fetch_record())
    found = summary(archive)
    assert (found["licence"], found["model_address"]) == ("not stated", None)
    assert found["model_digest"] == "sha256:" + "a" * 64
    came = {"licence": "mit", "model_address": "mlflow://models:/m/3"}
    archive.commit(fetch_record().model_copy(update=came))
    found = summary(archive)
    assert (found["licence"], found["model_address"]) == ("mit", "mlflow://models:/m/3")
    page = page_of(archive)
    assert ("Licence", "mit") in page.facts
    assert ("From", "mlflow://models:/m/3") in page.facts


def test_a_follower_sees_each_event_once(archive: JobArchive) -> None:
    archive.event("note", text="one")
    seen = list(archive.events_and_ends())
    archive.event("note", text="two")
    assert [e["text"] for e in archive.events(seen[-1][1])] == ["two"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400))
def test_a_journal_cut_anywhere_gives_a_beginning_of_the_history(
    archive: JobArchive, cut: int
) -> None:
    copy = JobArchive(archive.home, "cut")
    copy.root.mkdir(exist_ok=True)
    lines = [json.dumps({"t": float(n), "kind": "note", "n": n}) + "\n" for n in range(12)]
    copy.journal.write_text("".join(lines)[:cut])
    found = [event["n"] for event in copy.events()]
    assert found == list(range(len(found)))
    assert len(found) == "".join(lines)[:cut].count("\n")


def test_paths_stay_inside_the_job(archive: JobArchive) -> None:
    with pytest.raises(ArchiveError, match="leaves the archive"):
        archive.folder("..", "other")


def test_ids(archive: JobArchive) -> None:
    assert open_job(archive.home, "last").job_id == archive.job_id
    assert open_job(archive.home, archive.job_id[:-2]).job_id == archive.job_id
    with pytest.raises(UnknownName, match="did you mean"):
        open_job(archive.home, archive.job_id[:-1] + "zz")


def test_a_job_of_a_given_id_is_made_once(tmp_path: Path) -> None:
    made = JobArchive.create(tmp_path, small_plan(), {"folder": "."}, "mine-1")
    assert open_job(tmp_path, "mine-1") == made
    with pytest.raises(BadInput, match="mine-1 is there already"):
        JobArchive.create(tmp_path, small_plan(), {}, "mine-1")
    for no_id in ("Mine", "../mine", "a b", "-mine", "abc", "m" * 82):
        with pytest.raises(BadInput, match="no job id"):
            JobArchive.create(tmp_path, small_plan(), {}, no_id)
    assert [job.job_id for job in jobs(tmp_path)] == ["mine-1"]


def test_a_job_that_was_not_opened_to_the_end_is_none_and_may_be_opened_again(
    tmp_path: Path,
) -> None:
    made = JobArchive.create(tmp_path, small_plan(), {"folder": "."}, "mine-1")
    (made.root / "plan.json").unlink()
    assert jobs(tmp_path) == []
    again = JobArchive.create(tmp_path, small_plan(), {"folder": "."}, "mine-1")
    assert again.plan() == small_plan()
    assert len(again.of_kind("created")) == 1


def test_one_driver_a_job(archive: JobArchive) -> None:
    assert not archive.driver_alive()
    lock = archive.lock_driver()
    assert archive.driver_alive()
    with pytest.raises(ArchiveError, match="has another driver"):
        archive.lock_driver(patience_s=0)
    os.close(lock)
    assert not archive.driver_alive()


def test_a_driver_that_comes_after_another_one_had_the_job_does_not_begin(
    archive: JobArchive,
) -> None:
    """Two are asked for at once; the first may have ended before the second is there."""
    asked = len(archive.of_kind("state"))
    os.close(archive.lock_driver(after=asked))
    archive.event("state", state="running", pid=1, pool="inline")
    with pytest.raises(ArchiveError, match="had one since"):
        archive.lock_driver(after=asked)
    assert not archive.driver_alive()
    os.close(archive.lock_driver(after=asked + 1))


def test_the_budget_counts_all_runs(tmp_path: Path) -> None:
    plan = small_plan(budget={"wall_time_s": 100})
    archive = JobArchive.create(tmp_path, plan, {})
    lines = [
        {"t": 0.0, "kind": "state", "state": "running"},
        {"t": 60.0, "kind": "state", "state": "cancelled"},
    ]
    archive.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert archive.remaining_s() == pytest.approx(40)
    archive.event("occupied", devices=1, seconds=3600.0 * 99)
    with pytest.raises(BudgetExceeded, match=r"budget.gpu_hours.*99"):
        archive.remaining_s()


def test_a_damaged_plan_is_named(archive: JobArchive) -> None:
    (archive.root / "plan.json").write_text("{")
    with pytest.raises(ArchiveError, match=r"plan.json is damaged"):
        archive.plan()


def test_digests_tell_inputs_apart() -> None:
    assert digest_of("a", "b") != digest_of("ab") != digest_of("a", None)
    assert digest_of(fetch_record()) == digest_of(fetch_record())


def test_earlier_jobs_are_those_that_measured_and_can_be_read(
    archive: JobArchive, tmp_path: Path
) -> None:
    serving = small_plan().serving
    trial = Trial.model_validate(
        {
            "id": "b0-baseline",
            "number": 0,
            "purpose": "benchmark",
            "variant": "baseline",
            "state": "failed",
            "model_digest": "sha256:a",
            "serving": serving,
        }
    )
    idle, measured, strange = (
        JobArchive.create(tmp_path, small_plan(), {"folder": "."}) for _ in range(3)
    )
    for job in (archive, measured, strange):
        job.event("trial", trial=trial.model_dump(mode="json"))
    (strange.root / "plan.json").write_text('{"of": "a newer version"}')
    assert archive.earlier() == [(small_plan(), [trial])]
    assert idle.earlier() == [(small_plan(), [trial])] * 2


def test_a_clock_that_is_set_costs_no_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of a hundred seconds whose machine's date is corrected by two days, either way."""
    for jump_s in (172_800.0, -172_800.0):
        job = JobArchive.create(tmp_path, small_plan(budget={"wall_time_s": 100}), {})
        job.event("state", state="running", pid=1)
        real = time.time
        with monkeypatch.context() as patched:
            patched.setattr("optikit.journal.time.time", lambda s=jump_s, r=real: r() + s)
            job.event("note", text="later")
            assert job.remaining_s() == pytest.approx(100, abs=5)


def test_asking_for_the_driver_writes_nothing(archive: JobArchive) -> None:
    """An archive on a read-only disk can be looked at."""
    before = sorted(path.name for path in archive.root.iterdir())
    assert not archive.driver_alive()
    assert sorted(path.name for path in archive.root.iterdir()) == before


def test_whoever_asks_for_the_driver_keeps_none_from_starting(archive: JobArchive) -> None:
    """Two that only look do not see each other."""
    os.close(archive.lock_driver())
    fd = os.open(archive.root / "driver.lock", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert not archive.driver_alive()
    os.close(fd)


def test_a_job_that_finds_no_room_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("optikit.archive.write_json", full)
    with pytest.raises(ArchiveError, match=r"no job can be opened .*: No space left"):
        JobArchive.create(tmp_path, small_plan(), {})
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("event", "read"),
    [
        ({"kind": "trial"}, "trials"),
        ({"kind": "trial", "trial": {"id": 7}}, "trials"),
        ({"kind": "record", "record": {"stage": "none"}}, "records"),
        ({"kind": "record"}, "records"),
        ({"kind": "process_group", "group": []}, "groups"),
        ({"kind": "occupied", "devices": "many", "seconds": 1}, "remaining_s"),
        ({"kind": "occupied"}, "remaining_s"),
    ],
)
def test_an_event_of_another_make_is_one_clear_error(
    archive: JobArchive, event: dict[str, object], read: str
) -> None:
    """It has a right checksum, or none as in older archives, and says what nobody understands."""
    with archive.journal.open("a") as file:
        file.write(json.dumps({"t": 1.0, **event}) + "\n")
    with pytest.raises(ArchiveError, match=r"journal.jsonl: an event .* is damaged.*archive check"):
        getattr(archive, read)()


def test_a_plan_of_another_version_is_named(archive: JobArchive) -> None:
    (archive.root / "plan.json").write_text('{"of": "a newer version"}')
    with pytest.raises(ArchiveError, match=r"plan.json is damaged, or of another version"):
        archive.plan()


def test_a_job_that_is_removed_while_somebody_lists_is_no_crash(
    archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`optikit archive gc` may come between the look at a folder and the look into it."""
    real = JobArchive.created

    def gone(self: JobArchive) -> float:
        shutil.rmtree(self.root)
        return real(self)

    monkeypatch.setattr(JobArchive, "created", gone)
    assert [job.job_id for job in jobs(archive.home)] == [archive.job_id]
    assert list(archive.events()) == []


def test_a_journal_says_the_versions_it_was_written_in(archive: JobArchive) -> None:
    (created,) = archive.of_kind("created")
    assert created["schemas"] == {"job": 1, "record": 1, "certificate": 2}


def test_what_a_newer_version_wrote_is_refused_with_that_word(archive: JobArchive) -> None:
    """Not half read, and not called damaged."""
    archive.event("state", state="running", schemas={"record": 7})
    record = {**fetch_record().model_dump(mode="json"), "colour": "blue"}
    archive.event("record", record=record)
    with pytest.raises(ArchiveError, match=r"newer OptiKIT wrote it \(record version 7"):
        archive.records()
    (archive.root / "plan.json").write_text('{"colour": "blue"}')
    with pytest.raises(ArchiveError, match=r"plan.json cannot be read: a newer OptiKIT"):
        archive.plan()
