"""The pages through the whole application: what they show of a job, and to whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from optikit.archive import JobArchive
from optikit.service import reading
from optikit.service.database import Entry
from tests.browsing import FORM, ORIGIN, Tags, browser, page, sign_in
from tests.service_case import Service, ended, publish, serving, trial
from tests.specs import small_plan

MARKUP = "<script>alert(1)</script>&\"'"


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
    entry, over = running(service), service.submit("a")
    said = f"{MARKUP} of {service.home}/teams"
    archive = reading.archive_of(over)
    archive.event("state", state="failed", exit_code=1, message=said, verdict=said)
    service.database.set_state(over.id, "ended")
    pages = [page(client, path) for path in ("/jobs", f"/jobs/{entry.id}")]
    pages += [page(client, f"/jobs/{over.id}{end}") for end in ("", "/certificate")]
    pages.append(client.get(f"/jobs/{over.id}/report").text)
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
    assert tags.of("main")[0]["data-poll"] == "2"
    status = next(a for _, a in tags.found if a.get("role") == "status")
    assert (status["aria-live"], status["id"]) == ("polite", "status")
    assert "stage tune; 3 trials ended; best so far 3 requests/s a device, by trial t1" in text
    assert re.search(r'<th scope="row">t1 \(best\)</th>', text)
    assert re.search(r"\d\d:\d\d:\d\d  stage fetch: done", text)
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


def test_a_certificate_says_the_rate_and_how_to_serve_it(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a job on a real engine, which no unit test runs: its archive is put in another's place."""
    entry = service.submit("a")
    archive = JobArchive.create(service.desk.home(service.team()), small_plan(), {}, "jreal")
    publish(archive)
    monkeypatch.setattr(reading, "archive_of", lambda entry: archive)
    text = page(client, f"/jobs/{entry.id}/certificate")
    assert "SIMULATED" not in text
    assert '<p class="claim">20 requests/s</p>' in text
    assert "95 % interval of the sustainable rate: 19.5 to 22 requests/s" in text
    assert "<code>sh &#39;~/bundles/two words/serve.sh&#39;</code>" in text
    assert "optikit export jreal --to kubernetes" in text
    for said in ("p95(e2e) &lt;= 500 ms", "tensor_parallel", "a cpu", "kept: as good", "m:3"):
        assert said in text, said
    listed = [one.get("href") for one in Tags(page(client, f"/jobs/{entry.id}/files")).of("a")]
    file = f"/jobs/{entry.id}/files/bundle/certificate.json"
    assert file in listed
    answer = client.get(file)
    assert answer.json()["rate_rps"] == 20.0
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_no_certificate_says_why_and_leads_on(service: Service, client: TestClient) -> None:
    entry = service.submit("a")
    assert "The job has not ended." in page(client, f"/jobs/{entry.id}/certificate")
    ended(reading.archive_of(entry), "fail", "negative")
    service.database.set_state(entry.id, "ended")
    text = page(client, f"/jobs/{entry.id}/certificate")
    assert "No certificate: fail" in text
    assert f'<a href="/jobs/{entry.id}/report">' in text
    assert ">negative verdict</span>" in page(client, "/jobs")
