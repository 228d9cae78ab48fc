"""The pages through the whole application: who sees what, and what it may do. No port is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from optikit.journal import now
from optikit.service import reading
from optikit.service.database import Database, Entry
from optikit.service.desk import Desk
from optikit.service.rest import application
from optikit.service.teams import add, change_token, remove
from optikit.spec.queue import Team
from tests.service_case import QuietQueue, Service, serving, trial

ORIGIN = "http://optikit.example:8470"
FORM = {"Sec-Fetch-Site": "same-origin"}
MARKUP = "<script>alert(1)</script>&\"'"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "the service")
    yield made
    made.database.close()


def browser(service: Service, https: bool = False) -> TestClient:
    origin = ORIGIN.replace("http:", "https:") if https else ORIGIN
    app = application(service.desk, https=https)
    return TestClient(app, base_url=origin, follow_redirects=False, raise_server_exceptions=False)


def sign_in(client: TestClient, token: str, **more: str) -> Any:
    return client.post("/sign-in", data={"token": token, **more}, headers=FORM)


@pytest.fixture
def client(service: Service) -> TestClient:
    """Of a browser that is signed in as team a."""
    made = browser(service)
    assert sign_in(made, service.tokens["a"]).status_code == 303
    return made


class Tags(HTMLParser):
    """Tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def page(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def running(service: Service) -> Entry:
    """A job in the middle of its tuning, whose names and words hold what would be markup."""
    entry = service.submit("a", flow="tune", tuner={"finalists": 0})
    archive = reading.archive_of(entry)
    service.database.set_state(entry.id, "started")
    archive.event("state", state="starting")
    archive.event("stage", stage="fetch", state="done", seconds=75.0)
    archive.event("stage", stage="tune", state="running")
    archive.event("trial", trial=trial("t0", 4.0))
    archive.event("trial", trial=trial("t1", 6.0, variant="compressed"))
    archive.event("trial", trial=trial("t2", None, state="failed", rate=None, error=MARKUP))
    started = {"serving": serving(max_num_seqs=8, max_num_batched_tokens=512)}
    for name in ("t3", "t4"):
        archive.event("trial_started", trial=name, variant="baseline", purpose="tune", **started)
    probe = {"phase": "open", "rate_rps": 3.0, "verdict": "pass", "reason": MARKUP}
    archive.event("probe", trial="t3", probe=probe)
    archive.event("note", text=f"{MARKUP} in {service.home}/service.db")
    archive.driver_log.write_text(f"{MARKUP} printed in {service.home}\n")
    return service.desk.entry(service.team(), entry.id)


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
    (field,) = [one for one in Tags(answer.text).of("input") if one["name"] == "token"]
    assert (field["aria-invalid"], field["type"]) == ("true", "password")
    assert "value" not in field


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
    client.cookies.update(kept)
    assert client.get("/jobs").status_code == 303


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


# -- another team's


def test_another_teams_job_is_as_one_that_nobody_has(service: Service) -> None:
    client = browser(service)
    sign_in(client, service.tokens["b"])
    entry = running(service)
    nobodys = entry.id[:-1] + ("0" if entry.id[-1] != "0" else "1")
    for end in ("", "/certificate", "/report", "/files", "/files/job.json", "/nosuch"):
        answer, none = (client.get(f"/jobs/{job}{end}") for job in (entry.id, nobodys))
        assert (answer.status_code, none.status_code) == (404, 404)
        assert answer.text.replace(entry.id, "ID") == none.text.replace(nobodys, "ID")
    gone = client.post(f"/jobs/{entry.id}/cancel", headers=FORM)
    assert gone.status_code == 404
    assert service.desk.entry(service.team("a"), entry.id).state == "started"
    assert entry.id not in page(client, "/jobs")
    assert client.get("/jobs", params={"before": entry.id}).status_code == 404


# -- what a page may do


def test_every_page_is_closed_to_what_is_not_its_own(service: Service, client: TestClient) -> None:
    entry = running(service)
    job = f"/jobs/{entry.id}"
    for path in ("/sign-in", "/jobs", job, f"{job}/certificate", f"{job}/files", "/jobs/nosuch"):
        answer = client.get(path)
        policy = dict(part.strip().split(" ", 1) for part in
                      answer.headers["content-security-policy"].split(";"))  # fmt: skip
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        tags = Tags(answer.text)
        for tag, attributes in tags.found:
            assert not [name for name in attributes if name.startswith("on")], tag
            assert "style" not in attributes
            for name in ("src", "href", "action"):
                value = attributes.get(name) or "/"
                assert value[0] in "/#" or value == "data:,", value
                assert not value.startswith("//")
        assert {one.get("src") for one in tags.of("script")} <= {"/static/live.js"}
        assert tags.of("style") == []


def test_what_a_job_says_is_never_markup_nor_a_path_of_the_service(
    service: Service, client: TestClient
) -> None:
    entry, ended = running(service), service.submit("a")
    said = f"{MARKUP} of {service.home}/teams"
    archive = reading.archive_of(ended)
    archive.event("state", state="failed", exit_code=1, message=said, verdict=said)
    service.database.set_state(ended.id, "ended")
    pages = [page(client, path) for path in ("/jobs", f"/jobs/{entry.id}")]
    pages += [page(client, f"/jobs/{ended.id}{end}") for end in ("", "/certificate")]
    pages.append(client.get(f"/jobs/{ended.id}/report").text)
    for text in pages:
        assert "<script>alert" not in text
        assert str(service.home) not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#34;&#39;" in text
    assert pages[1].count("&lt;script&gt;") >= 4


def test_every_page_has_landmarks_and_headings_in_order(
    service: Service, client: TestClient
) -> None:
    entry = running(service)
    for path in ("/sign-in", "/jobs", f"/jobs/{entry.id}", f"/jobs/{entry.id}/certificate"):
        tags = Tags(page(client, path))
        assert tags.of("html") == [{"lang": "en"}]
        assert [one["id"] for one in tags.of("main")] == ["content"]
        assert tags.of("a")[0] == {"class": "skip", "href": "#content"}
        levels = [int(tag[1]) for tag, _ in tags.found if re.fullmatch(r"h[1-6]", tag)]
        assert (levels[0], levels.count(1)) == (1, 1)
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert len(tags.of("caption")) == len(tags.of("table"))
        assert all(one.get("scope") in ("col", "row") for one in tags.of("th"))
        ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
        assert len(ids) == len(set(ids))


# -- what they say


def test_no_jobs_yet_says_what_to_do(client: TestClient) -> None:
    text = page(client, "/jobs")
    assert "No jobs yet" in text
    assert f"optikit login {ORIGIN}" in text
    assert f"optikit submit job.yaml --server {ORIGIN}" in text
    assert Tags(text).of("script") == []


def test_a_running_job_is_told_as_it_goes(service: Service, client: TestClient) -> None:
    entry = running(service)
    text = page(client, f"/jobs/{entry.id}")
    tags = Tags(text)
    assert [one for one in tags.of("main") if one["data-poll"] == "2"]
    status = next(a for _, a in tags.found if a.get("role") == "status")
    assert (status["aria-live"], status["id"]) == ("polite", "status")
    assert "stage tune; 3 trials ended; best so far 3 requests/s a device, by trial t1" in text
    assert re.search(r'<th scope="row">t1 \(best\)</th>', text)
    assert "done in 1 min 15 s" in text
    running_stage = next(a for a in tags.of("li") if a.get("aria-current") == "step")
    assert running_stage["class"] == "running"
    assert "Under way: trial t4 (baseline): TP 2, max_num_seqs 8" in text
    assert "probe 3 req/s: pass" in text
    assert "What the driver printed" in text


def test_a_page_that_did_not_change_is_not_sent_again(service: Service, client: TestClient) -> None:
    entry = running(service)
    path = f"/jobs/{entry.id}"
    tag = client.get(path).headers["etag"]
    again = client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.text) == (304, "")
    reading.archive_of(entry).event("note", text="news")
    changed = client.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, "news" in changed.text) == (200, True)


def test_one_damaged_job_hides_no_other(service: Service, client: TestClient) -> None:
    entry, whole = service.submit("a"), service.submit("a")
    (reading.archive_of(entry).root / "plan.json").write_text("{")
    text = page(client, "/jobs")
    assert entry.id in text
    assert whole.id in text
    assert ">damaged</span>" in text
    answer = client.get(f"/jobs/{entry.id}")
    assert answer.status_code == 503
    assert str(service.home) not in answer.text


def test_methods_names_and_files_that_there_are_not(client: TestClient) -> None:
    assert client.get("/static/pages.css").headers["content-type"].startswith("text/css")
    for path in ("/static/../pages.py", "/static/nosuch.js", "/jobs/a/b", "/sign-in/x"):
        assert client.get(path).status_code == 404
    assert client.delete("/jobs").status_code == 405
    head = client.head("/jobs")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 500
    assert client.get("/v2").json()["error"]["kind"] == "NotFound", "the API's answers stay JSON"


def test_the_clock_of_the_log_is_utc(service: Service, client: TestClient) -> None:
    entry = running(service)
    first = next(reading.archive_of(entry).events())
    assert first["t"] <= now()["t"]
    assert re.search(r"\d\d:\d\d:\d\d  stage fetch: done", page(client, f"/jobs/{entry.id}"))
