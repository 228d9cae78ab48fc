from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.service import listing, reading
from optikit.service.database import Entry
from optikit.service.listing import FILTERS, Listing
from optikit.service.live import STATES
from optikit.service.refusals import NotFound
from tests.service_case import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.database.close()


def ended(service: Service, state: str) -> str:
    entry = service.submit()
    archive = reading.archive_of(entry)
    archive.event("state", state=state, exit_code=0, message="", verdict=state)
    service.database.set_state(entry.id, "ended")
    return entry.id


def ids(page: dict[str, Any]) -> list[str]:
    return [row["id"] for row in page["rows"]]


def test_every_state_is_found_by_one_filter() -> None:
    found = [state for one in FILTERS.values() for state in one.states]
    assert sorted(found) == sorted(STATES)


def test_jobs_are_filtered_by_state(service: Service) -> None:
    done, failed, waiting = ended(service, "done"), ended(service, "failed"), service.submit().id
    jobs = Listing(service.desk)
    assert ids(jobs.page(service.team(), "", None)) == [waiting, failed, done]
    assert ids(jobs.page(service.team(), "done", None)) == [done]
    assert ids(jobs.page(service.team(), "failed", None)) == [failed]
    live = jobs.page(service.team(), "live", None)
    assert (ids(live), live["live"], live["next"]) == ([waiting], True, None)
    assert not jobs.page(service.team(), "done", None)["live"]
    assert ids(jobs.page(service.team("b"), "", None)) == []


def test_pages_follow_one_another(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_PAGE", 2)
    made = [ended(service, "done") for _ in range(4)]
    jobs, found, after = Listing(service.desk), [], None
    for _ in range(3):
        page = jobs.page(service.team(), "", after)
        found += ids(page)
        after = page["next"]
        if after is None:
            break
    assert found == made[::-1]
    with pytest.raises(NotFound):
        jobs.page(service.team(), "", "nosuch")


def test_the_search_for_a_state_has_a_bound_and_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_PAGE", 1)
    monkeypatch.setattr(listing, "_LOOKED_AT", 2)
    wanted = ended(service, "failed")
    others = [ended(service, "done") for _ in range(2)]
    jobs = Listing(service.desk)
    first = jobs.page(service.team(), "failed", None)
    assert (ids(first), first["next"]) == ([], others[0])
    second = jobs.page(service.team(), "failed", first["next"])
    assert (ids(second), second["next"]) == ([wanted], None)


def test_a_job_that_ended_is_read_once_until_it_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, live = ended(service, "failed"), service.submit().id
    jobs = Listing(service.desk)
    jobs.page(service.team(), "", None)
    read: list[str] = []
    row = reading.row

    def counted(entry: Entry) -> dict[str, Any]:
        read.append(entry.id)
        return row(entry)

    monkeypatch.setattr(reading, "row", counted)
    jobs.page(service.team(), "", None)
    assert read == [live]
    service.desk.resume(service.team(), job)
    states = {one["id"]: one["state"] for one in jobs.page(service.team(), "", None)["rows"]}
    assert states[job] == "queued"
