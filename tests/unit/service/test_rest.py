"""The routes: statuses, bodies, bounds, what an answer may say. No port is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from optikit.errors import ArchiveError
from optikit.jobs import Job
from optikit.service import page, reading
from optikit.service.database import Database
from optikit.service.desk import Desk
from optikit.service.limits import Limits
from optikit.service.metrics import Metrics
from optikit.service.rest import application
from optikit.service.teams import add
from optikit.spec.queue import Team
from tests.service_case import SPEC, QuietQueue, Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "the service")
    yield made
    made.database.close()


def client_of(service: Service, team: str | None = "a") -> TestClient:
    headers = {"Authorization": f"Bearer {service.tokens[team]}"} if team else {}
    return TestClient(application(service.desk), headers=headers, raise_server_exceptions=False)


@pytest.fixture
def client(service: Service) -> TestClient:
    return client_of(service)


def error(response: Any, status: int) -> dict[str, str]:
    """The error of an answer of that status, whose form is always the same."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    found: dict[str, str] = response.json()["error"]
    assert set(found) == {"kind", "message"}
    assert found["message"]
    return found


def submit(client: TestClient, **changes: Any) -> str:
    answer = client.post("/v1/jobs", json={"spec": {**SPEC, **changes}})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_health_needs_no_token(service: Service) -> None:
    answer = client_of(service, None).get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_metrics_are_for_this_machine_unless_the_site_says_more(service: Service) -> None:
    def asked(metrics: Metrics | None, asker: str, host: str = "127.0.0.1") -> Any:
        app = application(service.desk, metrics=metrics)
        client = TestClient(app, base_url=f"http://{host}", client=(asker, 1))
        return client.get("/metrics")

    found = asked(Metrics(), "127.0.0.1")
    assert found.status_code == 200
    assert found.headers["content-type"].startswith("text/plain; version=")
    assert "optikit_build_info{" in found.text
    assert asked(Metrics(public=True), "10.0.0.7", "optikit.example").status_code == 200
    for refused in (
        asked(Metrics(), "10.0.0.7"),
        asked(Metrics(), "127.0.0.1", "evil.example"),
        asked(None, "127.0.0.1"),
    ):
        assert "metrics: true" in error(refused, 404)["message"]


def test_a_queue_that_stands_still_is_not_healthy(service: Service) -> None:
    def check() -> None:
        raise ArchiveError(f"{service.home}/service.db is gone")

    app = application(service.desk, check)
    found = error(TestClient(app, raise_server_exceptions=False).get("/healthz"), 503)
    assert str(service.home) not in found["message"]


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "optikit_x", "Bearer é"]
)
def test_no_token_or_a_wrong_one_is_401(service: Service, given: str | None) -> None:
    headers = {} if given is None else {b"Authorization": given.encode()}
    answer = client_of(service, None).get("/v1/team", headers=headers)
    assert error(answer, 401)["kind"] == "NotAllowed"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_who_am_i(client: TestClient) -> None:
    found = client.get("/v1/team").json()
    assert (found["name"], found["weight"], found["quota"]) == ("a", 1.0, {"H100": 8})


def test_a_job_from_its_submission_to_its_result(client: TestClient, service: Service) -> None:
    job = submit(client)
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    assert error(client.get(f"/v1/jobs/{job}/result"), 409)["kind"] == "Conflict"
    assert client.get(f"/v1/jobs/{job}/plan").json()["simulated"] is True
    (event,) = client.get(f"/v1/jobs/{job}/events").json()["events"]
    assert event["kind"] == "created"
    assert client.get(f"/v1/jobs/{job}/logs").json()["text"] == ""
    entry = service.desk.entry(service.team(), job)
    reading.archive_of(entry).event("state", state="done", exit_code=0, message="", verdict="pass")
    service.database.set_state(job, "ended")
    found = client.get(f"/v1/jobs/{job}/result").json()
    assert (found["id"], found["state"], found["verdict"]) == (job, "done", "pass")
    assert found["archive"] == f"~/jobs/{job}"


def test_a_key_makes_a_submission_safe_to_repeat(client: TestClient) -> None:
    first = client.post("/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": "k-1"})
    again = client.post("/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = {"spec": SPEC, "priority": 1}
    error(client.post("/v1/jobs", json=other, headers={"Idempotency-Key": "k-1"}), 409)
    for key in ("", "a b", "x" * 256):
        error(client.post("/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": key}), 422)


def test_jobs_are_listed_in_pages(client: TestClient) -> None:
    ids = [submit(client) for _ in range(5)]
    found: list[str] = []
    after: str | None = None
    while True:
        asked: dict[str, int | str] = {"limit": 2, **({"before": after} if after else {})}
        body = client.get("/v1/jobs", params=asked).json()
        found += [row["id"] for row in body["jobs"]]
        after = body["next"]
        if after is None:
            break
    assert found == ids[::-1]
    error(client.get("/v1/jobs", params={"before": "nosuch"}), 404)


def test_cancel_and_resume(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(client)
    error(client.post(f"/v1/jobs/{job}/resume"), 409)
    answer = client.post(f"/v1/jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert client.post(f"/v1/jobs/{job}/resume").json()["state"] == "queued"
    monkeypatch.setattr(Job, "cancel", lambda self: True)
    entry = service.desk.entry(service.team(), job)
    reading.archive_of(entry).event("state", state="starting")
    service.database.set_state(job, "started")
    assert client.post(f"/v1/jobs/{job}/cancel").status_code == 202


def test_a_plan_starts_nothing(client: TestClient, service: Service) -> None:
    found = client.post("/v1/plan", json={"spec": SPEC}).json()
    assert found["flow"]["name"] == "benchmark"
    assert service.database.ids("a") == set()


def test_the_queue_is_the_dispatchers(client: TestClient) -> None:
    assert client.get("/v1/queue").json() == {
        "jobs": [{"job": "of a", "state": "queued"}],
        "device_hours_per_weight": 1.5,
        "weight": 1.0,
    }


def test_models_are_the_teams(client: TestClient) -> None:
    assert client.get("/v1/models").json() == {"models": []}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"spec": {**SPEC, "flow": "nosuch"}}, "unknown flow"),
        ({"spec": {}}, "'model' is missing"),
        ({"spec": []}, "body.spec"),
        ({"spec": SPEC, "priority": 11}, "body.priority"),
        ({"spec": SPEC, "owner": "b"}, "body.owner"),
        ({}, "body.spec"),
        ([], "body"),
        (None, "body"),
        ({"spec": {"model": {"name": "\ud800"}}}, "spec.model.name"),
        ({"spec": {**SPEC, "workload": {"prompt_tokens": 1e308}}}, "prompt_tokens"),
    ],
)
def test_bad_input_is_422_with_its_reason(client: TestClient, body: Any, said: str) -> None:
    for path in ("/v1/jobs", "/v1/plan"):
        if path == "/v1/plan" and "priority" in said:
            continue
        found = error(
            client.post(
                path, content=json.dumps(body), headers={"Content-Type": "application/json"}
            ),
            422,
        )
        assert said in found["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"\xff\xff", "application/json", 400),
        (b'{"spec": ' + b"1" * 5000 + b"}", "application/json", 400),
        (json.dumps({"spec": SPEC}).encode(), "text/plain", 422),
        (b"spec=1", "application/x-www-form-urlencoded", 422),
    ],
)
def test_what_is_no_json_is_refused(
    client: TestClient, content: bytes, kind: str, status: int
) -> None:
    """Text of another type too: a page of the web may send that to any address."""
    answer = client.post("/v1/jobs", content=content, headers={"Content-Type": kind})
    error(answer, status)


def test_what_is_too_large_or_too_deep_is_413_before_it_is_parsed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda *a, **k: pytest.fail("it was parsed"))
    header = {"Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(2000):
            yield b" " * 1000

    large = client.post("/v1/jobs", content=b" " * 1_000_001, headers=header)
    chunked = client.post("/v1/jobs", content=chunks(), headers=header)
    deep = client.post("/v1/jobs", content=b"[" * 33, headers=header)
    monkeypatch.undo()
    assert "larger than 1000000 bytes" in error(large, 413)["message"]
    error(chunked, 413)
    assert "deeper than 32" in error(deep, 413)["message"]


def test_asking_too_often_is_429_with_the_time_to_wait(tmp_path: Path) -> None:
    service = Service(tmp_path, Limits(per_minute=1.0, burst=1))
    client = client_of(service)
    submit(client)
    answer = client.post("/v1/plan", json={"spec": SPEC})
    error(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert client.get("/v1/jobs").status_code == 200, "reading is not submitting"
    service.database.close()


def test_unknown_routes_and_methods(client: TestClient) -> None:
    assert error(client.get("/v2/jobs"), 404)["kind"] == "NotFound"
    answer = client.delete("/v1/jobs")
    assert error(answer, 405)["kind"] == "NoSuchMethod"
    assert "POST" in answer.headers["allow"]


def test_a_bug_is_500_without_a_traceback(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(f"secret of {service.home}")

    monkeypatch.setattr(Desk, "queue", fails)
    answer = client.get("/v1/queue")
    assert error(answer, 500)["kind"] == "Internal"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_disk_that_fails_is_503_without_its_path(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device", str(service.home))

    monkeypatch.setattr(Desk, "submit", fails)
    answer = client.post("/v1/jobs", json={"spec": SPEC})
    error(answer, 503)
    assert str(service.home) not in answer.text
    assert answer.headers["retry-after"]


def test_no_answer_names_the_services_folders(client: TestClient, service: Service) -> None:
    submit(client)
    answers = [
        client.post("/v1/jobs", json={"spec": {**SPEC, "model": {"name": "m", "uri": "nosuch"}}}),
        client.post(
            "/v1/plan",
            json={"spec": {**SPEC, "engine": "vllm", "model": {"name": "unheard-of"}}},
        ),
        *(client.get(path) for path in ("/v1/jobs", "/v1/models", "/v1/queue", "/v1/team")),
    ]
    for answer in answers:
        assert str(service.home) not in answer.text
        assert str(Path.cwd()) not in answer.text


def test_text_that_utf8_does_not_know_does_no_harm(client: TestClient, service: Service) -> None:
    job = submit(client)
    entry = service.desk.entry(service.team(), job)
    reading.archive_of(entry).event("note", text="\ud800 of a file's name", ratio=float("inf"))
    event = client.get(f"/v1/jobs/{job}/events").json()["events"][-1]
    assert (event["text"], event["ratio"]) == ("\ud800 of a file's name", None)


def test_an_open_service_listens_to_this_machines_names_alone(tmp_path: Path) -> None:
    """A web page whose name was made to lead to 127.0.0.1 is refused (DNS rebinding)."""
    database = Database(tmp_path)
    add(database, Team(name="default"), with_token=False)
    app = application(Desk(database, QuietQueue(), open_team=True))
    for host, status in [
        ("127.0.0.1:8470", 200),
        ("localhost", 200),
        ("[::1]:8470", 200),
        ("evil.example:8470", 401),
        ("127.0.0.1.evil.example", 401),
        ("", 401),
    ]:
        answer = TestClient(app).get("/v1/team", headers={"Host": host})
        assert answer.status_code == status, host
    database.close()


def test_the_page_loads_nothing_from_another_machine(client: TestClient) -> None:
    assert page.assets() is not None, "the extra service brings them"
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for text in (answer.text, client.get("/docs/init.js").text):
        assert "http:" not in text
        assert "https:" not in text
        assert '"//' not in text
    for name, kind in page.FILES.items():
        found = client.get(f"/docs/{name}")
        assert (found.status_code, found.headers["content-type"].split(";")[0]) == (200, kind)
    error(client.get("/docs/..%2f..%2frest.py"), 404)
    error(client.get("/docs/redoc.standalone.js"), 404)
    for path in ("/redoc", "/docs/oauth2-redirect"):
        error(client.get(path), 404)


def test_the_api_says_what_it_is(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    assert set(api["paths"]) == {
        "/healthz",
        "/v1/jobs",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/plan",
        "/v1/jobs/{job_id}/result",
        "/v1/jobs/{job_id}/logs",
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/cancel",
        "/v1/jobs/{job_id}/resume",
        "/v1/plan",
        "/v1/models",
        "/v1/queue",
        "/v1/team",
    }
    assert "HTTPValidationError" not in api["components"]["schemas"]
    for path, methods in api["paths"].items():
        for asked in methods.values():
            assert bool(asked.get("security")) == path.startswith("/v1"), path
