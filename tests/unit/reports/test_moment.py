"""What is made of a moment does not see what comes later."""

from __future__ import annotations

from pathlib import Path

from optikit.archive import JobArchive
from optikit.reports.moment import Moment
from tests.specs import small_plan


def test_a_moment_is_read_once(tmp_path: Path) -> None:
    archive = JobArchive.create(tmp_path, small_plan(), {})
    moment = Moment.of(archive)
    first = list(moment.events_and_ends())
    archive.event("note", text="later")
    assert list(moment.events_and_ends()) == first
    assert moment.of_kind("note") == []
    assert len(archive.of_kind("note")) == 1
    assert list(moment.events(first[-1][1])) == []
    assert moment.plan() == archive.plan()
