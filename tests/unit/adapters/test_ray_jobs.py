"""The Jobs API's client: addresses, its errors in our words, the log that is followed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from optikit.adapters import ray_jobs as module
from optikit.adapters.http_get import Answer
from optikit.adapters.ray_jobs import DuplicateJob, RayJob, RayJobs
from optikit.errors import BadInput, ClusterError

URL = "http://head:8265"
UP = Answer(200, {"ray_version": "2.60.0"})


class Client:
    """Ray's client: answers what it is told to, or raises it."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def _reply(self, *asked: Any, **more: Any) -> Any:
        self.asked.append(more or asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    submit_job = get_job_info = list_jobs = get_job_logs = stop_job = _reply

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for piece in self.answer:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif isinstance(piece, Exception):
                raise piece
            else:
                yield piece


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    found = Client()
    monkeypatch.setattr(module, "get_json", lambda url: UP)
    monkeypatch.setattr(module, "_client", lambda address: found)
    return found


def details(**changes: Any) -> Any:
    known = {
        "submission_id": "j1", "status": "RUNNING", "message": None, "driver_exit_code": None,
        "start_time": 1500, "metadata": None,
    }  # fmt: skip
    return SimpleNamespace(**{**known, **changes})


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("head:6379", "looks like http://HEAD:8265"),
        ("ray://head:10001", "6379 and 10001"),
        ("http://", "no address"),
        ("http://me:secret@head:8265", "RAY_AUTH_TOKEN"),
    ],
)
def test_what_is_no_address(address: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        RayJobs(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(None, text="connection refused"), "nobody answers at .*connection refused"),
        (Answer(404, text="Not Found"), "not as Ray's Jobs API .*HTTP 404"),
        (Answer(200, {"version": "1"}), r"has ray\[default\]|have ray\[default\]"),
        (Answer(200, None, "<html>"), "not as Ray's Jobs API"),
    ],
)
def test_who_answers_is_asked_first(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, words: str
) -> None:
    monkeypatch.setattr(module, "get_json", lambda url: answer)
    with pytest.raises(ClusterError, match=words):
        RayJobs(URL)


def test_rays_own_variables_do_not_lead_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.job_submission

    seen: dict[str, str] = {}

    def client(address: str) -> str:
        seen.update({"address": address, "ray": os.environ.get("RAY_ADDRESS", "hidden")})
        return address

    monkeypatch.setenv("RAY_ADDRESS", "other:6379")
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", client)
    assert module._client(URL) == URL
    assert seen == {"address": URL, "ray": "hidden"}
    assert os.environ["RAY_ADDRESS"] == "other:6379"


def test_jobs_in_our_words(client: Client) -> None:
    jobs = RayJobs(f"{URL}/")
    assert jobs.address == URL
    client.answer = details(metadata={"a": "b"}, driver_exit_code=3, status="FAILED")
    assert jobs.find("j1") == RayJob("j1", "FAILED", "", 3, 1.5, {"a": "b"})
    client.answer = RuntimeError("Request failed with status code 404: gone.")
    assert jobs.find("j1") is None
    client.answer = [details(start_time=2000), details(submission_id=None), details()]
    assert [job.started_s for job in jobs.all()] == [1.5, 2.0]
    assert RayJob("j", "STOPPED").ended
    assert not RayJob("j", "PENDING").ended


def test_errors_in_our_words(client: Client) -> None:
    from ray.exceptions import AuthenticationError

    jobs = RayJobs(URL)
    trace = "Traceback (most recent call last):\n  File x\nValueError: no agent."
    for error, words in (
        (RuntimeError(f"Request failed with status code 500: {trace}"), "ValueError: no agent"),
        (ConnectionError("Failed to connect"), "ConnectionError: Failed to connect"),
        (AuthenticationError("Authentication failed: wrong token"), "RAY_AUTH_TOKEN"),
    ):
        client.answer = error
        with pytest.raises(ClusterError, match=words) as caught:
            jobs.stop("j1")
        assert "\n" not in str(caught.value)


def test_a_taken_id_is_told_apart(client: Client, tmp_path: Any) -> None:
    jobs = RayJobs(URL)
    client.answer = RuntimeError("status code 500: ValueError: Job with j1 already exists.")
    with pytest.raises(DuplicateJob):
        jobs.submit("j1", "true", tmp_path / "p.zip", {}, {"A": "1"})
    (asked,) = client.asked
    assert asked["runtime_env"] == {
        "working_dir": str(tmp_path / "p.zip"),
        "env_vars": {"A": "1"},
    }


def test_a_tail_says_that_nothing_came_and_loses_nothing(client: Client) -> None:
    client.answer = ["one\n", 0.08, "two\n"]
    pieces = list(RayJobs(URL).tail("j1", patience_s=0.02))
    assert "".join(pieces) == "one\ntwo\n"
    assert "" in pieces[1:-1]


def test_a_tail_that_is_left_or_breaks_is_closed(client: Client) -> None:
    client.answer = ["one\n", 60.0]
    tail = RayJobs(URL).tail("j1", patience_s=0.01)
    assert [next(tail), next(tail)] == ["one\n", ""]
    tail.close()  # type: ignore[attr-defined]  # a generator, as every tail is
    client.answer = ["one\n", RuntimeError("WebSocket closed")]
    with pytest.raises(ClusterError, match="WebSocket closed"):
        list(RayJobs(URL).tail("j1"))
