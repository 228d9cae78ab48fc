from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from optikit.reports import _plot_draw as draw
from optikit.reports.page import Page, page_of
from optikit.service import reading, reported
from optikit.service.refusals import Busy
from optikit.service.reported import Reports
from tests.service_case import Service


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(draw, "available", lambda: False)
    made = Service(tmp_path / "home")
    yield made
    made.database.close()


def test_the_report_is_the_teams_and_lets_in_its_own_style_alone(service: Service) -> None:
    entry = service.submit()
    home = str(service.home.resolve())
    html, policy = Reports().html(entry, lambda text: text.replace(home, "~"))
    assert f'<a href="/jobs/{entry.id}">' in html
    assert f"~/teams/a/jobs/{entry.id}/job.json" in html
    assert home not in html
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in policy
    assert "script" not in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_report_is_made_again_when_the_job_went_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = service.submit()
    made: list[str] = []

    def counted(archive: object) -> Page:
        made.append(entry.id)
        return page_of(reading.archive_of(entry))

    monkeypatch.setattr(reported, "page_of", counted)
    reports = Reports()
    assert reports.html(entry, str) == reports.html(entry, str)
    assert len(made) == 1
    reading.archive_of(entry).event("note", text="news")
    reports.html(entry, str)
    assert len(made) == 2


def test_who_waits_too_long_for_others_reports_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reported, "_PATIENCE_S", 0.01)
    reports = Reports()
    with reports._lock, pytest.raises(Busy, match="try again"):
        reports.html(service.submit(), str)
    assert reports.html(service.submit(), str)


def test_few_wait_at_a_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reported, "_PATIENCE_S", 10.0)
    reports, entry = Reports(), service.submit()
    with reports._lock, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(reports.html, entry, str) for _ in range(4)]
        until = time.monotonic() + 5
        while reports._seats._value and time.monotonic() < until:
            pass
        with pytest.raises(Busy):
            reports.html(entry, str)
        reports._lock.release()
        made = {one.result() for one in waiting}
        reports._lock.acquire()
    assert made == {reports.html(entry, str)}
