"""The service's pages in a real browser, by keyboard, on jobs in virtual time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from optikit.service.database import Database
from optikit.service.teams import add
from optikit.spec.queue import Team
from tests.browser_pages import looked_at, walked
from tests.service_case import SPEC
from tests.services import RunningService, running_service, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(900)]

LONG: dict[str, Any] = {
    **SPEC,
    "flow": "quantize_and_tune",
    "flow_params": {"recipe": "fp8_dynamic", "num_trials": 24},
    "slo": ["p95(e2e) <= 500 ms"],
    "tuner": {"name": "tpe", "finalists": 1, "racing": False},
}
"""Long enough to be watched."""
PAGES = ("sign-in", "list", "running", "ended", "certificate", "report", "files")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningService, str]]:
    """A service with a team, and the team's token."""
    home = tmp_path_factory.mktemp("pages") / "home"
    database = Database(home)
    token = add(database, Team(name="vision"))
    database.close()
    assert token is not None
    with running_service(home) as service:
        yield service, token


def shots(tmp_path: Path) -> Path:
    """$OPTIKIT_SCREENSHOTS keeps the pictures, for whoever wants to look."""
    return Path(os.environ.get("OPTIKIT_SCREENSHOTS") or tmp_path)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_from_sign_in_to_certificate_by_keyboard(
    served: tuple[RunningService, str], tmp_path: Path, scripts: bool
) -> None:
    service, token = served
    job = service.server(token).submit(LONG, 0, f"walk-{scripts}")
    wait_until(job, lambda status: status["state"] == "running")
    steps = walked(service.url, token, job.id, shots(tmp_path) / str(scripts), scripts)
    for name in PAGES:
        page = steps[name]
        assert page["errors"] == [], name
        assert page["requests"] == [], f"{name} asks another origin"
        assert page["serious"] == [], name
        assert len(page["judged"]) == (2 if scripts else 0), "by axe-core, in light and dark"
        assert not page["sideways"], name
        levels = page["headings"]
        assert levels[0] == 1, name
        assert all(b - a <= 1 for a, b in pairwise(levels)), name
    assert steps["sign-in"]["url"].startswith("/sign-in?next=%2Fjobs%2F"), "nothing before it"
    assert "no team's" in steps["refused"]["words"]
    held = steps["held"]
    assert held["ended"] > held["began"], "trials came while the page was open"
    if scripts:
        assert held["before"].startswith("DIV Trials that ended")
        assert held["before"] == held["after"] == held["end"], "the focus was taken away"
    assert "running" in steps["running"]["title"]
    assert "done" in steps["ended"]["title"]
    assert "schema_version" in steps["file"]["text"]
    assert steps["out"] == {"url": "/sign-in?next=%2Fjobs", "cookies": 0}
    written = service.log.read_text() + "".join(service.said)
    assert token not in written
    kept = [path for path in service.home.rglob("*") if path.is_file()]
    assert [path for path in kept if token.encode() in path.read_bytes()] == []


def test_a_job_is_cancelled_by_keyboard_without_scripts(
    served: tuple[RunningService, str], tmp_path: Path
) -> None:
    service, token = served
    job = service.server(token).submit(LONG, 0, "to-cancel")
    wait_until(job, lambda status: status["state"] == "running")
    steps = walked(service.url, token, job.id, tmp_path, scripts=False, cancels=True)
    assert steps["cancelled"]["url"] == f"/jobs/{job.id}"
    wait_until(job, lambda status: status["state"] == "cancelled", 60)


def test_an_open_service_shows_its_pages_to_this_machine(tmp_path: Path) -> None:
    with running_service(tmp_path / "home") as service:
        pages = {"empty": f"{service.url}/jobs", "unknown": f"{service.url}/sign-in"}
        options = ("--own", service.url, "--width", "400")
        found = looked_at(pages, shots(tmp_path), *options)
    for page in found.values():
        assert page["errors"] == page["requests"] == page["serious"] == []
        assert not page["sideways"]
        assert page["reached"]
