"""The client against answers that a test writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from optikit.adapters.http_get import Answer
from optikit.errors import (
    BadInput,
    Cancelled,
    DoesNotFit,
    OptikitError,
    SpecError,
    StageFailed,
    UnknownName,
)
from optikit.service import client
from optikit.service.client import ServedJob, Server, ServerDown, service_url

URL = "http://127.0.0.1:8470"
JOB = "j20261126-101112-abcdef"
DOWN = Answer(None, text="connection refused")


def good(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, body)


def bad(status: int, kind: str = "Conflict", message: str = "because", **headers: str) -> Answer:
    return Answer(status, {"error": {"kind": kind, "message": message}}, headers=headers)


class Service:
    """Answers what a test says, one after the other, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.keys: list[str] = []
        self.slept: list[float] = []
        self.answers: dict[str, list[Answer]] = {}

    def says(self, path: str, *answers: Answer) -> None:
        self.answers[path] = list(answers)

    def _answer(self, method: str, url: str) -> Answer:
        path = url.removeprefix(URL)
        self.asked.append((method, path))
        left = self.answers[path.partition("?")[0]]
        return left.pop(0) if len(left) > 1 else left[0]

    def get(self, url: str, token: str | None, timeout_s: float) -> Answer:
        return self._answer("GET", url)

    def post(
        self, url: str, body: Any, token: str | None, timeout_s: float, headers: Any
    ) -> Answer:
        self.keys += [headers["Idempotency-Key"]] if headers else []
        return self._answer("POST", url)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(client, "get_json", made.get)
    monkeypatch.setattr(client, "post_json", made.post)
    return made


@pytest.fixture
def server(service: Service) -> Server:
    return Server(URL, "optikit_secret", sleep=service.slept.append)


@pytest.fixture
def job(server: Server) -> ServedJob:
    return ServedJob(server, JOB)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h:1/", "http://h:1"),
        ("https://optikit.example", "https://optikit.example"),
        (" https://h/some/path/ ", "https://h/some/path"),
        ("http://[::1]:8470", "http://[::1]:8470"),
    ],
)
def test_an_address(text: str, url: str) -> None:
    assert service_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h:1",
        "ftp://h",
        "http://",
        "https://me:pw@h",
        "http://h?token=x",
        "http://h:x",
        "http://[",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        service_url(text)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:1", "http://optikit.example", "http://localhost.x"]
)
def test_a_token_does_not_cross_the_network_in_the_clear(url: str) -> None:
    with pytest.raises(BadInput, match="in the clear"):
        Server(url, "optikit_secret")
    Server(url.replace("http:", "https:"), "optikit_secret")
    Server(url, None)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_it_may_stay_on_this_machine(url: str) -> None:
    server = Server(url, "optikit_secret")
    assert "secret" not in repr(server)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (DOWN, ServerDown, "does not answer: connection refused"),
        (bad(401, "NotAllowed"), BadInput, "optikit login"),
        (bad(404, "NotFound"), UnknownName, "because"),
        (bad(409), BadInput, "because"),
        (bad(422, "DoesNotFit"), DoesNotFit, "because"),
        (bad(422, "SpecError"), SpecError, "because"),
        (bad(422, "nearest"), BadInput, "because"),
        (bad(422, "OptikitError"), BadInput, "because"),
        (bad(413, "TooLarge"), BadInput, "because"),
        (bad(429, "TooMany", **{"retry-after": "7"}), OptikitError, "again in 7 s"),
        (bad(503, "ArchiveError"), ServerDown, "cannot answer now"),
        (bad(500, "Internal"), OptikitError, "HTTP 500: because"),
        (Answer(200, None, "<html>"), OptikitError, "is it an OptiKIT service"),
        (Answer(302, None, ""), OptikitError, "HTTP 302"),
        (Answer(404, [], "nginx"), UnknownName, "nginx"),
    ],
)
def test_every_answer_is_an_error_that_says_what_to_do(
    service: Service, server: Server, answer: Answer, error: type[Exception], said: str
) -> None:
    service.says("/v1/team", answer)
    with pytest.raises(error, match=said) as raised:
        server.team()
    assert type(raised.value) is error
    assert "secret" not in str(raised.value)


def test_a_submission_whose_answer_is_lost_is_sent_again_under_its_key(
    service: Service, server: Server
) -> None:
    service.says("/v1/jobs", DOWN, bad(503), good({"id": JOB}, 201))
    assert server.submit({}, 0, "k").id == JOB
    assert service.keys == ["k"] * 3
    service.says("/v1/jobs", DOWN)
    with pytest.raises(ServerDown):
        server.submit({}, 0, "k")
    assert len(service.keys) == 7


def test_a_job_is_found_by_id_beginning_or_last(service: Service, server: Server) -> None:
    pages = [
        good({"jobs": [{"id": "j3-newest"}, {"id": "j2-middle"}], "next": "j2-middle"}),
        good({"jobs": [{"id": "j1-oldest"}, {"id": "j1-other"}], "next": None}),
    ]
    for word, found in [("last", "j3-newest"), ("j1-oldest", "j1-oldest"), ("j2-m", "j2-middle")]:
        service.says("/v1/jobs", *pages)
        assert server.job(word).id == found
    for word in ("j1-o", "j9-none", ""):
        service.says("/v1/jobs", *pages)
        with pytest.raises(UnknownName, match="j1-oldest"):
            server.job(word)
    assert ("GET", "/v1/jobs?limit=100&before=j2-middle") in service.asked


def state(name: str, message: str = "") -> Answer:
    return good({"state": name, "message": message, "exit_code": None})


def follow(service: Service, job: ServedJob, *states: Answer) -> tuple[Any, list[int]]:
    service.says(f"/v1/jobs/{JOB}", *states)
    service.says(
        f"/v1/jobs/{JOB}/events",
        good({"events": [{"n": 1}, {"n": 2}], "next": 20}),
        good({"events": [], "next": 20}),
        DOWN,
        good({"events": [{"n": 3}], "next": 30}),
        good({"events": [], "next": 30}),
    )
    facts = {"id": JOB, "state": "negative", "exit_code": 3, "verdict": "fail", "message": "m"}
    service.says(f"/v1/jobs/{JOB}/result", good({**facts, "bundle": None}))
    seen: list[int] = []
    return job.result(on_event=lambda event: seen.append(event["n"])), seen


def test_a_job_is_followed_over_a_service_that_goes_away(service: Service, job: ServedJob) -> None:
    """Each event is seen once, in its order."""
    result, seen = follow(service, job, state("queued"), DOWN, state("running"), state("negative"))
    assert (result.state, result.exit_code, result.verdict) == ("negative", 3, "fail")
    assert seen == [1, 2, 3]


def test_a_service_that_stays_away_is_given_up(
    service: Service, job: ServedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PATIENCE_S", -1.0)
    service.says(f"/v1/jobs/{JOB}", DOWN)
    with pytest.raises(ServerDown):
        job.result()


@pytest.mark.parametrize(
    ("last", "error"),
    [("rejected", BadInput), ("failed", StageFailed), ("cancelled", Cancelled)],
)
def test_a_bad_end_is_the_error_of_a_job_of_this_machine(
    service: Service, job: ServedJob, last: str, error: type[Exception]
) -> None:
    service.says(f"/v1/jobs/{JOB}", state(last, "it says why"))
    with pytest.raises(error):
        job.result()


def test_a_wait_has_an_end(service: Service, job: ServedJob) -> None:
    service.says(f"/v1/jobs/{JOB}", state("running"))
    with pytest.raises(TimeoutError):
        job.result(timeout_s=-1.0)


def test_cancelling_returns_when_the_job_has_ended(service: Service, job: ServedJob) -> None:
    service.says(f"/v1/jobs/{JOB}/cancel", good({"stopped": True}, 202))
    service.says(f"/v1/jobs/{JOB}", state("running"), state("running"), state("cancelled"))
    assert job.cancel() is True
    assert len(service.slept) == 2
    service.says(f"/v1/jobs/{JOB}/cancel", good({"stopped": False}))
    assert job.cancel() is False


def test_resume_names_no_pool(service: Service, job: ServedJob) -> None:
    with pytest.raises(BadInput, match="--pool"):
        job.resume("ray")
    service.says(f"/v1/jobs/{JOB}/resume", good({"state": "queued"}))
    assert job.resume() is job


def test_a_log_and_a_journal_are_read_to_their_ends(service: Service, job: ServedJob) -> None:
    service.says(
        f"/v1/jobs/{JOB}/logs",
        good({"text": "one\n", "next": 4, "size": 8}),
        good({"text": "two\n", "next": 8, "size": 8}),
    )
    assert job.logs() == "one\ntwo\n"
    service.says(f"/v1/jobs/{JOB}/logs", good({"text": "", "next": 0, "size": 9}))
    assert job.logs("t00") == ""
    assert service.asked[-1][1].endswith("&trial=t00")
    service.says(
        f"/v1/jobs/{JOB}/events",
        good({"events": [{"n": 1}], "next": 5}),
        good({"events": [{"n": 2}], "next": 9}),
        good({"events": [], "next": 9}),
    )
    assert job.events() == [{"n": 1}, {"n": 2}]


def test_an_id_is_one_part_of_the_path(server: Server, service: Service) -> None:
    ask: Callable[[], object] = ServedJob(server, "../team").status
    service.says("/v1/jobs/..%2Fteam", bad(404, "NotFound"))
    with pytest.raises(UnknownName):
        ask()
