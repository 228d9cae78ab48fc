"""A stage that surely finds no room fails before it begins, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optikit.core.candidates import planned_candidates
from optikit.core.diskneed import Need
from optikit.errors import DiskFull, UnknownName
from optikit.stages import _room
from optikit.stages._room import (
    lacking,
    needs_of_job,
    room_for_bundle,
    room_for_candidates,
    room_for_fetch,
)
from tests.models import tiny_folder
from tests.specs import small_plan
from tests.unit.stages.publish_case import Case

GB = 10**9


class Disk:
    """Free bytes by folder of the home; one file system unless told otherwise."""

    def __init__(self, free: int, *apart: str) -> None:
        self.free, self.apart = free, apart
        self.asked = 0

    def free_bytes(self, place: Path) -> int:
        self.asked += 1
        return self.free

    def same_disk(self, one: Path, other: Path) -> bool:
        return one == other or not {one.name, other.name} & set(self.apart)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    def of(free: int, *apart: str) -> Disk:
        found = Disk(free, *apart)
        monkeypatch.setattr(_room, "free_bytes", found.free_bytes)
        monkeypatch.setattr(_room, "same_disk", found.same_disk)
        return found

    return of


def test_needs_on_one_disk_add_up(disk: Any) -> None:
    needs = [Need("jobs", 3 * GB, "one thing"), Need("artifacts", 4 * GB, "another")]
    disk(7 * GB)
    assert lacking(Path("/h"), needs) is None
    disk(7 * GB - 1)
    said = lacking(Path("/h"), needs)
    assert said is not None
    assert "asked at least 7.0 GB under /h/jobs (one thing and another), found 7.0 GB free" in said
    disk(5 * 10**6)
    said = lacking(Path("/h"), needs[1:])
    assert said is not None
    assert "under /h/artifacts (another), found 5 MB free" in said
    disk(4 * GB, "jobs", "artifacts")
    assert lacking(Path("/h"), needs) is None


def test_nothing_needed_is_nothing_asked(disk: Any) -> None:
    found = disk(0)
    assert lacking(Path("/h"), [Need("artifacts", 0, "a model that is there")]) is None
    assert found.asked == 0


def test_a_fetch_without_room(case: Case, disk: Any) -> None:
    disk(GB)
    with pytest.raises(DiskFull) as caught:
        room_for_fetch(case.tools, [Need("artifacts", 141 * GB, "the model /m")])
    said = str(caught.value)
    for word in ("fetch was not begun", "141.0 GB", "the model /m", "found 1.0 GB free"):
        assert word in said
    assert "`optikit archive gc`" in said
    assert f"optikit resume {case.journal.job_id}" in said
    assert "waits for room" in case.journal.events[-1][1]["text"]


def test_room_that_comes_in_time_is_taken(
    case: Case, disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIKIT_DISK_PATIENCE_S", "20")
    found = disk(0)

    def freed(place: Path) -> int:
        found.free += GB
        return int(found.free)

    monkeypatch.setattr(_room, "free_bytes", freed)
    room_for_fetch(case.tools, [Need("artifacts", 2 * GB, "the model")])
    assert len(case.journal.events) == 1


def test_candidates_without_room(case: Case, disk: Any) -> None:
    plan = small_plan(flow="quantize", flow_params={"recipe": "int_w8a8_rtn"})
    big = case.fetched.model_copy(update={"size_bytes": 10**12})
    disk(100)
    with pytest.raises(DiskFull, match=r"compress was not begun.*1 candidate"):
        room_for_candidates(case.tools, plan, planned_candidates(plan), big)
    room_for_candidates(case.tools, plan, (), big)


def test_a_bundle_needs_room_only_where_it_has_to_copy(case: Case, disk: Any) -> None:
    disk(0)
    room_for_bundle(case.tools, case.compressed)
    disk(0, "bundles")
    with pytest.raises(DiskFull, match="publish was not begun"):
        room_for_bundle(case.tools, case.compressed)


def test_a_whole_job_before_it_is_opened(case: Case, tmp_path: Path, disk: Any) -> None:
    store, home = case.tools.models, case.journal.home
    new = tiny_folder(tmp_path / "new")
    disk(0)
    plan = small_plan(
        flow="quantize_and_tune",
        model={"name": "m", "uri": new.as_uri()},
        flow_params={"recipe": "int_w8a8_rtn"},
    )
    fetch, candidate = needs_of_job(home, store, plan)
    assert fetch.bytes == sum(path.stat().st_size for path in new.iterdir())
    assert 0 < candidate.bytes < fetch.bytes
    store.take(new)
    fetch, _ = needs_of_job(home, store, plan)
    assert fetch.bytes == 0, "it is there already"
    disk(0, "bundles")
    assert [need.place for need in needs_of_job(home, store, plan)][-1] == "bundles"
    simulated = plan.model_copy(update={"simulated": True})
    assert needs_of_job(home, store, simulated) == ()


def test_a_registered_model_is_in_the_store_and_an_unknown_one_an_error(
    case: Case, tmp_path: Path, disk: Any
) -> None:
    disk(0)
    case.tools.models.add(tiny_folder(tmp_path / "new"), "m", "1")
    plan = small_plan(flow="tune", model={"name": "m", "version": "1"})
    assert [need.bytes for need in needs_of_job(case.journal.home, case.tools.models, plan)] == [0]
    with pytest.raises(UnknownName):
        needs_of_job(case.journal.home, case.tools.models, small_plan(model={"name": "nobody"}))


def test_the_stages_ask_before_they_write(case: Case, disk: Any) -> None:
    disk(0, "bundles")
    with pytest.raises(DiskFull, match="publish was not begun"):
        case.run()
    assert not (case.journal.home / "bundles").exists()
