"""A service that was killed anywhere in a submission: no job is lost, none is there twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.archive import JobArchive, jobs
from optikit.service.database import Database
from optikit.service.reconcile import reconcile
from optikit.spec.queue import Ticket
from tests.service_case import SPEC, Service
from tests.specs import small_plan


class Killed(BaseException):
    """As far as a process can play its own death: no clean-up of ours runs after it."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.database.close()


def dies(*_: Any, **__: Any) -> Any:
    raise Killed


def on_disk(service: Service) -> list[str]:
    return [archive.job_id for archive in jobs(service.home / "teams/a")]


def test_killed_before_the_queue_knows_it_the_job_is_queued_at_the_next_start(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Database, "set_state", dies)
        with pytest.raises(Killed):
            service.submit(key="k")
    assert service.database.live() == []
    (said,) = reconcile(service.database)
    assert "was submitted" in said
    (row,) = service.database.live()
    assert [row.id] == on_disk(service)
    assert service.submit(key="k").id == row.id, "the client asks again, and gets that job"
    assert len(service.database.live()) == len(on_disk(service)) == 1


@pytest.mark.parametrize("written", [(), ("job.json",), ("job.json", "plan.json")])
def test_half_an_archive_is_removed_with_its_row(
    service: Service, written: tuple[str, ...]
) -> None:
    entry = service.submit(key="k")
    archive = JobArchive(Path(entry.home), entry.id)
    for path in archive.root.iterdir():
        if path.name not in written:
            path.unlink()
    service.database.set_state(entry.id, "opening")  # type: ignore[arg-type]
    (said,) = reconcile(service.database)
    assert "half a submission" in said
    assert not archive.root.exists()
    assert service.submit(key="k").id != entry.id
    assert len(service.database.live()) == len(on_disk(service)) == 1


def test_killed_before_anything_was_made_leaves_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(JobArchive, "create", dies)
        patched.setattr(Database, "forget", dies)
        with pytest.raises(Killed):
            service.submit(key="k")
    assert len(service.database.opening()) == 1
    reconcile(service.database)
    assert service.database.opening() == []
    assert on_disk(service) == []


def test_jobs_that_the_database_lost_are_found_again(service: Service) -> None:
    """As they are: one that ended has ended, one that ran is followed, one that waited waits."""
    home = service.database.home_of("a")
    waits, ended, ran = (JobArchive.create(home, small_plan(), {}) for _ in range(3))
    by_hand = JobArchive.create(home, small_plan(), {})
    ended.event("state", state="done", exit_code=0, message="", verdict="pass")
    ran.enqueue(Ticket(team="a", since_s=5.0))
    ran.event("state", state="running", pid=1)
    by_hand.event("state", state="running", pid=1)
    assert len(reconcile(service.database)) == 4
    found = {row.id: row.state for row in service.database.live()}
    assert found == {waits.job_id: "queued", ran.job_id: "started"}
    assert service.database.ids("a") == set(on_disk(service))
    assert reconcile(service.database) == [], "once is enough"


def test_a_row_whose_archive_somebody_deleted_waits_for_nothing(service: Service) -> None:
    entry = service.submit()
    Path(entry.home).joinpath("jobs", entry.id, "journal.jsonl").unlink()
    (said,) = reconcile(service.database)
    assert "no archive any more" in said
    assert service.database.live() == []


def test_a_damaged_archive_is_listed_not_driven(service: Service) -> None:
    archive = JobArchive.create(service.database.home_of("a"), small_plan(), {})
    (archive.root / "queue.json").write_text("{")
    reconcile(service.database)
    assert service.database.live() == []
    assert service.database.find("a", archive.job_id) is not None


def test_what_stands_is_left_as_it_is(service: Service) -> None:
    entry = service.submit(**{"slo": SPEC["slo"]})
    assert reconcile(service.database) == []
    assert [row.id for row in service.database.live()] == [entry.id]
