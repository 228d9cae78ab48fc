"""What a job's page says of what its journal says; the page itself is in test_pages.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.service import reading
from optikit.service.database import Entry
from optikit.service.live import job_facts, version
from tests.service_case import Service, trial


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.database.close()


def started(service: Service, *states: str) -> Entry:
    """Its driver is gone, as in every test without one."""
    entry = service.submit(flow="tune", tuner={"finalists": 0})
    service.database.set_state(entry.id, "started")
    for state in states:
        reading.archive_of(entry).event("state", state=state, verdict=None)
    return service.desk.entry(service.team(), entry.id)


def place(entry: Entry, **more: Any) -> list[dict[str, Any]]:
    return [{"job": "another", "state": "queued"}, {"job": entry.id, "state": "started", **more}]


def test_what_a_job_waits_for(service: Service) -> None:
    queued = service.submit()
    assert "waits for its turn" in job_facts(queued, place(queued))["waits"]
    entry = started(service, "running")
    needs: dict[str, Any] = {"devices": 2, "kind": "H100", "stage": "tune"}
    waits = place(entry, **needs, waits_s=3.0, older=4)
    assert job_facts(entry, waits)["waits"] == (
        "It waits for 2 x H100 for the stage tune; 4 older stages wait for the same."
    )
    holds = place(entry, **needs, holds_s=1.0, node="n")
    assert job_facts(entry, holds)["waits"] == "It holds 2 x H100 for the stage tune."
    assert job_facts(entry, [])["waits"] == ""


def test_a_version_knows_what_changes_the_page_and_no_seconds(service: Service) -> None:
    entry = started(service, "running")
    needs: dict[str, Any] = {"devices": 2, "kind": "H100", "stage": "tune", "older": 0}
    first = version(entry, place(entry, **needs, waits_s=1.0))
    assert version(entry, place(entry, **needs, waits_s=9.0)) == first
    assert version(entry, place(entry, **needs, holds_s=1.0)) != first
    reading.archive_of(entry).driver_log.write_text("printed")
    assert version(entry, place(entry, **needs, waits_s=1.0)) != first


def test_the_best_is_by_device_and_holds_the_slo(service: Service) -> None:
    entry = started(service, "running")
    archive = reading.archive_of(entry)
    assert job_facts(entry, [])["best"] is None
    one = {"max_model_len": 64, "tensor_parallel": 1}
    archive.event("trial", trial=trial("t0", 9.0))
    archive.event("trial", trial=trial("t1", 6.0, serving=one))
    archive.event("trial", trial=trial("t2", None))
    facts = job_facts(entry, [])
    assert facts["best"] == "6 requests/s a device, by trial t1 (baseline, TP 1)"
    assert [(row["trial"], row["best"]) for row in facts["trials"]] == [
        ("t2", False),
        ("t1", True),
        ("t0", False),
    ]
    assert facts["trials"][0]["why"] == "it did not hold"
    assert facts["status"].endswith("3 trials ended; best so far " + facts["best"] + ".")


def test_another_driver_forgets_what_the_one_before_had_begun(service: Service) -> None:
    entry = started(service, "running")
    archive = reading.archive_of(entry)
    config = {"tensor_parallel": 1, "max_num_seqs": 8, "max_num_batched_tokens": 512}
    archive.event("trial_started", trial="t0", variant="baseline", serving=config)
    assert [one["trial"] for one in job_facts(entry, [])["under_way"]] == ["t0"]
    archive.event("state", state="running")
    archive.event("trial_started", trial="t1", variant="baseline", serving=config)
    assert [one["trial"] for one in job_facts(entry, [])["under_way"]] == ["t1"]


def test_a_stage_whose_driver_was_killed_is_broken_off(service: Service) -> None:
    entry = started(service, "running")
    archive = reading.archive_of(entry)
    archive.event("stage", stage="tune", state="running")
    stages = {row["name"]: row["state"] for row in job_facts(entry, [])["stages"]}
    assert stages["tune"] == "running"
    assert stages["publish"] == "waiting"
    archive.event("state", state="cancelled", verdict=None)
    service.database.set_state(entry.id, "ended")
    ended = service.desk.entry(service.team(), entry.id)
    facts = job_facts(ended, [])
    assert {row["name"]: row["state"] for row in facts["stages"]}["tune"] == "broken off"
    assert facts["ended"]


def test_the_end_of_the_log_is_shown_in_whole_lines(service: Service) -> None:
    entry = started(service, "running")
    archive = reading.archive_of(entry)
    for number in range(200):
        archive.event("note", text=f"note {number}")
    archive.event("probe", trial="t", probe={"of": "another version"})
    archive.driver_log.write_text("".join(f"line {number:06d}\n" for number in range(4000)))
    facts = job_facts(entry, [])
    assert len(facts["lines"]) == 120
    assert facts["lines"][-1].endswith("(probe)")
    assert facts["lines"][-2].endswith("note 199")
    printed = facts["printed"].splitlines()
    assert (printed[-1], len(printed[0])) == ("line 003999", len("line 000000"))
    assert len(facts["printed"]) <= 16 << 10
