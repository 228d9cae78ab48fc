"""Who asks, what is submitted once, what may be cancelled and resumed; no driver is started."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.archive import JobArchive, jobs
from optikit.errors import BadInput, SpecError
from optikit.jobs import Job
from optikit.service import reading
from optikit.service.database import Database, Entry
from optikit.service.desk import Desk
from optikit.service.limits import Limits
from optikit.service.refusals import Conflict, NotAllowed, NotFound, TooMany
from optikit.service.teams import add, change_token, remove
from optikit.spec.queue import Team
from tests.service_case import SPEC, QuietQueue, Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "the service")
    yield made
    made.database.close()


def archive(entry: Entry) -> JobArchive:
    return reading.archive_of(entry)


def ended(service: Service, state: str = "failed") -> Entry:
    entry = service.submit()
    archive(entry).event("state", state=state, exit_code=1, message="it did not work")
    service.database.set_state(entry.id, "ended")
    return service.desk.entry(service.team(), entry.id)


def soon(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


# -- who


def test_a_token_is_its_teams(service: Service) -> None:
    assert [service.team(name).name for name in "ab"] == ["a", "b"]
    for wrong in (None, "", "optikit_", service.tokens["a"] + "x", service.tokens["a"].upper()):
        with pytest.raises(NotAllowed):
            service.desk.team(wrong)


def test_a_token_that_was_replaced_or_removed_opens_nothing(service: Service) -> None:
    new = change_token(service.database, "a")
    with pytest.raises(NotAllowed):
        service.team("a")
    assert service.desk.team(new).name == "a"
    remove(service.database, "b")
    with pytest.raises(NotAllowed):
        service.team("b")


def test_without_a_token_only_where_there_is_no_team(tmp_path: Path) -> None:
    """As long as the service was opened so, and nobody made a team meanwhile."""
    database = Database(tmp_path)
    add(database, Team(name="default"), with_token=False)
    with pytest.raises(NotAllowed):
        Desk(database, QuietQueue()).team(None)
    desk = Desk(database, QuietQueue(), open_team=True)
    assert desk.team(None).name == "default"
    with pytest.raises(NotAllowed):
        desk.team("optikit_x")
    add(database, Team(name="a"))
    with pytest.raises(NotAllowed):
        desk.team(None)
    database.close()


# -- submit


def test_a_submitted_job_waits_in_the_queue_in_its_teams_home(service: Service) -> None:
    entry = service.submit()
    assert [row.id for row in service.database.live()] == [entry.id]
    assert [job.job_id for job in jobs(service.home / "teams/a")] == [entry.id]
    assert entry.home == str(service.home / "teams/a")
    assert reading.status(entry)["state"] == "queued"
    assert archive(entry).environment()["folder"] == entry.home


def test_the_same_key_is_the_same_job(service: Service) -> None:
    entry, new = service.desk.submit(service.team(), SPEC, 0, "k")
    again, still_new = service.desk.submit(service.team(), json.loads(json.dumps(SPEC)), 0, "k")
    assert (again, new, still_new) == (entry, True, False)
    for other in ((SPEC, 1), ({**SPEC, "fallback": "baseline"}, 0)):
        with pytest.raises(Conflict, match=entry.id):
            service.desk.submit(service.team(), *other, "k")
    assert service.submit("b", key="k").id != entry.id, "a key is a team's own"
    assert service.submit().id != service.submit().id, "without a key each is a job"


def test_the_same_key_at_the_same_time_is_one_job(service: Service) -> None:
    found: list[str] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        found.append(service.submit(key="k").id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(jobs(service.home / "teams/a")) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flow": "nosuch"}, "unknown flow"),
        ({"modle": {}}, "modle"),
        ({"workload": {"prompt_tokens": 10**6}}, "context"),
        ({"workload": {"trace": "nosuch.jsonl"}}, "nosuch"),
        ({"workload": {"trace": "x" * 5000}}, "too long"),
        ({"model": {"name": "m", "uri": "no/such/folder"}}, "no/such/folder"),
    ],
)
def test_what_cannot_run_is_refused_and_leaves_nothing(
    service: Service, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        service.submit(key="k", **changes)
    assert service.database.ids("a") == set()
    assert jobs(service.home / "teams/a") == []
    service.submit(key="k")


def test_text_that_is_none_is_refused(service: Service) -> None:
    with pytest.raises(SpecError, match=r"spec\.model\.name"):
        service.desk.plan(service.team(), {"model": {"name": "\0"}})


def test_relative_paths_lead_into_the_teams_home(service: Service) -> None:
    spec = {**SPEC, "flow": "quantize", "dataset": {"path": "data/calibration"}}
    plan = service.desk.plan(service.team(), spec)
    assert plan.job.dataset is not None
    assert plan.job.dataset.path == str(service.home / "teams/a/data/calibration")


def test_a_team_may_ask_so_often_and_have_so_many_jobs(tmp_path: Path) -> None:
    service = Service(tmp_path, Limits(per_minute=1e-3, burst=3, live_jobs=2))
    first = service.submit(key="k")
    service.submit()
    with pytest.raises(TooMany, match="2 jobs that have not ended"):
        service.submit()
    with pytest.raises(TooMany, match="asked too often"):
        service.desk.plan(service.team(), SPEC)
    assert service.database.count_live("a") == 2
    service.database.set_state(first.id, "ended")
    service.submit("b")
    service.database.close()


# -- cancel and resume


def test_a_waiting_job_is_cancelled_at_once(service: Service) -> None:
    entry = service.submit()
    assert service.desk.cancel(service.team(), entry.id) == (
        {"id": entry.id, "stopped": True, "state": "cancelled"},
        True,
    )
    assert service.database.live() == []
    assert archive(entry).of_kind("state")[-1]["exit_code"] == 130
    assert service.desk.cancel(service.team(), entry.id)[0]["stopped"] is False


def test_no_turn_of_the_queue_comes_between(service: Service) -> None:
    """A driver that starts while its job is cancelled would run a job that has ended."""
    entry = service.submit()
    with service.queue.lock:
        asked = threading.Thread(target=service.desk.cancel, args=(service.team(), entry.id))
        asked.start()
        asked.join(0.2)
        assert asked.is_alive()
        service.database.set_state(entry.id, "started")  # the turn's end
        lock = archive(entry).lock_driver()
        archive(entry).event("state", state="running", pid=2**22 + 1)
    asked.join(10)
    soon(archive(entry).cancel_asked)
    archive(entry).event("state", state="cancelled", exit_code=130, message="cancelled")
    assert [row.state for row in service.database.live()] == ["started"], "the queue's to end"
    os.close(lock)


def test_a_running_jobs_driver_is_told_and_not_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    goes_on = threading.Event()

    def cancel(self: Job) -> bool:
        told.set()
        return goes_on.wait(10)

    monkeypatch.setattr(Job, "cancel", cancel)
    entry = service.submit()
    service.database.set_state(entry.id, "started")
    for _ in range(2):  # asked twice, told once
        found, over = service.desk.cancel(service.team(), entry.id)
        assert (found["state"], found["stopped"], over) == ("cancelling", True, False)
    assert told.wait(10)
    goes_on.set()


def test_a_job_whose_driver_died_is_cancelled_before_it_is_started_again(service: Service) -> None:
    entry = service.submit()
    service.database.set_state(entry.id, "started")
    archive(entry).event("state", state="running", pid=1)
    assert reading.status(service.desk.entry(service.team(), entry.id))["state"] == "starting"
    assert service.desk.cancel(service.team(), entry.id)[1] is True
    assert service.database.live() == []


def test_a_job_that_has_just_ended_is_not_cancelled(service: Service) -> None:
    """The queue has not yet seen it."""
    entry = service.submit()
    service.database.set_state(entry.id, "started")
    archive(entry).event("state", state="done", exit_code=0, message="", verdict="pass")
    found, over = service.desk.cancel(service.team(), entry.id)
    assert (found["stopped"], found["state"], over) == (False, "done", True)


def test_a_failed_job_goes_into_the_queue_again(service: Service) -> None:
    entry = ended(service)
    again = service.desk.resume(service.team(), entry.id)
    assert [row.id for row in service.database.live()] == [entry.id]
    assert reading.status(again)["state"] == "queued"
    with pytest.raises(Conflict, match="goes on by itself"):
        service.desk.resume(service.team(), entry.id)


@pytest.mark.parametrize("state", ["done", "negative", "inconclusive"])
def test_an_end_that_holds_is_not_resumed(service: Service, state: str) -> None:
    with pytest.raises(Conflict, match=f"is {state}: there is nothing to resume"):
        service.desk.resume(service.team(), ended(service, state).id)


def test_a_resumed_job_counts_as_a_live_one(tmp_path: Path) -> None:
    service = Service(tmp_path, Limits(per_minute=6e6, burst=100, live_jobs=1))
    entry = ended(service)
    service.submit()
    with pytest.raises(TooMany):
        service.desk.resume(service.team(), entry.id)
    service.database.close()


@pytest.mark.parametrize(
    "job_id", ["", "last", "../a", "a/b", "j" * 200, "J2026", "j2026\n", "%2e%2e", "\0", "\ud800"]
)
def test_a_word_that_is_no_id_names_no_job(service: Service, job_id: str) -> None:
    service.submit()
    for ask in (service.desk.entry, service.desk.cancel, service.desk.resume):
        with pytest.raises(NotFound):
            ask(service.team(), job_id)


# -- reading


def test_a_result_is_there_when_the_job_has_ended(service: Service) -> None:
    waits = service.submit()
    with pytest.raises(Conflict, match="it is queued"):
        reading.result(waits)
    assert reading.result(ended(service))["state"] == "failed"


def test_a_journal_is_read_in_parts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = service.submit()
    for number in range(20):
        archive(entry).event("note", text="x" * 100, number=number)
    monkeypatch.setattr(reading, "_PART", 500)
    whole, offset = [], 0
    while (part := reading.events(entry, offset))["events"]:
        assert len(part["events"]) < 8
        whole += part["events"]
        offset = part["next"]
    assert whole == list(archive(entry).events())
    assert reading.events(entry, 10**9) == {"events": [], "next": 10**9}


def test_a_log_is_read_in_whole_lines_and_bounded_parts(service: Service) -> None:
    entry = service.submit()
    lines = "".join(f"zeile {number} ü\n" for number in range(50))
    archive(entry).driver_log.write_text(lines)
    whole, offset = "", 0
    while (part := reading.log(entry, None, offset, 40))["text"]:
        assert part["text"].endswith("\n")
        assert part["size"] == len(lines.encode())
        whole, offset = whole + part["text"], part["next"]
    assert whole == lines
    assert reading.log(entry, None, 10**12, 40)["text"] == ""


def test_a_log_without_lines_or_a_file_is_read_too(service: Service) -> None:
    entry = service.submit()
    assert reading.log(entry, None, 0, 100)["size"] == 0
    archive(entry).driver_log.write_bytes(b"\xff" * 100)
    assert reading.log(entry, None, 0, 10)["next"] == 10


def test_a_trials_log_stays_inside_the_job(service: Service, tmp_path: Path) -> None:
    entry = service.submit()
    trial = archive(entry).folder("trials", "t00")
    (tmp_path / "secret").write_text("secret")
    (trial / "engine.log").write_text("ready\n")
    assert reading.log(entry, "t00", 0, 100)["text"] == "ready\n"
    for other in ("t01", "..", "../../..", "", "t00/../t00", "\0"):
        with pytest.raises(NotFound):
            reading.log(entry, other, 0, 100)
    (trial / "engine.log").unlink()
    (trial / "engine.log").symlink_to(tmp_path / "secret")
    assert reading.log(entry, "t00", 0, 100)["text"] == ""


def test_one_damaged_job_hides_no_other(service: Service) -> None:
    entry = service.submit()
    (archive(entry).root / "plan.json").write_text("{")
    other = service.submit()
    rows = [reading.row(e) for e in service.desk.page(service.team(), 10, None)]
    assert [(row["id"], row["state"]) for row in rows] == [
        (other.id, "queued"),
        (entry.id, "damaged"),
    ]
