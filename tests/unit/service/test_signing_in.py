"""Who comes in by a browser, and what it may change from there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from optikit.service.database import Database
from optikit.service.desk import Desk
from optikit.service.rest import application
from optikit.service.teams import add, change_token, remove
from optikit.spec.queue import Team
from tests.browsing import FORM, ORIGIN, Tags, browser, page, sign_in
from tests.service_case import QuietQueue, Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "the service")
    yield made
    made.database.close()


@pytest.fixture
def client(service: Service) -> TestClient:
    """Of a browser that is signed in as team a."""
    made = browser(service)
    assert sign_in(made, service.tokens["a"]).status_code == 303
    return made


# -- who


def test_who_is_not_signed_in_is_led_to_the_sign_in(service: Service) -> None:
    client = browser(service)
    job = service.submit("a").id
    for path in ("/", "/jobs", f"/jobs/{job}", f"/jobs/{job}/certificate", f"/jobs/{job}/report"):
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (303, "")
        assert answer.headers["location"].startswith("/sign-in?next=%2Fjobs")
    for path in (f"/jobs/{job}/files/job.json", "/jobs/%2e%2e/v1/jobs", "/jobs//evil.example"):
        assert client.get(path).headers["location"] == "/sign-in?next=%2Fjobs"
    assert client.post(f"/jobs/{job}/cancel", headers=FORM).headers["location"] == "/sign-in"
    assert service.desk.entry(service.team(), job).state == "queued"


def test_a_token_becomes_a_session_that_is_not_the_token(service: Service) -> None:
    client = browser(service)
    token = service.tokens["a"]
    answer = sign_in(client, f" {token}\n", next="/jobs/j1234")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/j1234")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"optikit-8470=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", cookie)
    assert token.removeprefix("optikit_") not in cookie
    assert "Jobs of team a" in page(client, "/jobs")
    api = client.get("/v1/jobs")
    assert api.status_code == 401, "a cookie opens nothing of the API"


def test_by_tls_the_cookie_is_secure(service: Service) -> None:
    answer = sign_in(browser(service, https=True), service.tokens["a"])
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == "__Host-optikit-8470"
    assert rest.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")


@pytest.mark.parametrize("token", ["", "optikit_x", "\ud800", "a" * 5000])
def test_what_is_no_token_is_said(service: Service, token: str) -> None:
    answer = browser(service).post(
        "/sign-in", content=f"token={token}".encode(errors="replace"),
        headers={**FORM, "Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    field = Tags(answer.text).of("input")[1]
    assert (field["aria-invalid"], field["type"], "value" in field) == ("true", "password", False)


@pytest.mark.parametrize(
    "place", ["https://evil.example", "//evil.example", "/v1/jobs", "/jobs/../x", "/jobs\r\nX: y"]
)
def test_a_sign_in_leads_nowhere_else(service: Service, place: str) -> None:
    client = browser(service)
    hidden = Tags(client.get("/sign-in", params={"next": place}).text).of("input")[0]
    assert hidden["value"] == "/jobs"
    answer = sign_in(client, service.tokens["a"], next=place)
    assert answer.headers["location"] == "/jobs"
    assert "x" not in answer.headers


def test_signing_out_ends_the_session_not_only_the_cookie(
    service: Service, client: TestClient
) -> None:
    kept = dict(client.cookies)
    answer = client.post("/sign-out", headers=FORM)
    assert "Max-Age=0" in answer.headers["set-cookie"]
    client.cookies.clear()
    client.cookies.update(kept)
    assert client.get("/jobs").status_code == 303
    client.cookies.clear()
    sign_in(client, service.tokens["a"])
    former = dict(client.cookies)
    sign_in(client, service.tokens["b"])
    client.cookies.clear()
    client.cookies.update(former)
    assert client.get("/jobs").status_code == 303, "another sign-in ends the one before"


def test_a_new_token_and_a_removed_team_end_their_sessions(service: Service) -> None:
    clients = {}
    for name in ("a", "b"):
        clients[name] = browser(service)
        sign_in(clients[name], service.tokens[name])
    change_token(service.database, "a")
    remove(service.database, "b")
    assert [clients[name].get("/jobs").status_code for name in ("a", "b")] == [303, 303]


def test_an_open_service_shows_its_pages_to_this_machine_alone(tmp_path: Path) -> None:
    database = Database(tmp_path)
    add(database, Team(name="default"), with_token=False)
    app = application(Desk(database, QuietQueue(), open_team=True))
    for host, status in [("127.0.0.1:8470", 200), ("[::1]:8470", 200), ("evil.example", 303)]:
        client = TestClient(app, follow_redirects=False)
        assert client.get("/jobs", headers={"Host": host}).status_code == status
    database.close()


# -- what may change something


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://optikit.example:9"}],
    ids=["nothing said", "another port", "another origin"],
)
def test_what_no_page_of_ours_sent_changes_nothing(
    service: Service, client: TestClient, headers: dict[str, str]
) -> None:
    job = service.submit("a").id
    for path in (f"/jobs/{job}/cancel", "/sign-out", "/sign-in"):
        answer = client.post(path, data={"token": service.tokens["b"]}, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert service.desk.entry(service.team(), job).state == "queued"
    assert "Jobs of team a" in page(client, "/jobs")


def test_a_job_is_cancelled(service: Service, client: TestClient) -> None:
    job = service.submit("a").id
    forms = [one["action"] for one in Tags(page(client, f"/jobs/{job}")).of("form")]
    assert f"/jobs/{job}/cancel" in forms
    answer = client.post(f"/jobs/{job}/cancel", headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}")
    text = page(client, f"/jobs/{job}")
    assert "cancelled" in text
    assert f"optikit resume {job}" in text
    assert f"/jobs/{job}/cancel" not in text
    assert client.get(f"/jobs/{job}/cancel").status_code == 405
