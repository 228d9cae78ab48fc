from __future__ import annotations

import http.client
import io
import urllib.error
import urllib.request
from email.message import Message
from typing import Any

import pytest

from optikit.adapters.http_get import Answer, NoRedirect, get_json, post_json

URL = "http://h:1/v1/models"


class Network:
    """What the next request meets; remembers the request."""

    def __init__(self) -> None:
        self.meets: Any = None
        self.sent: list[urllib.request.Request] = []

    def open(self, request: urllib.request.Request, timeout: float) -> Any:
        self.sent.append(request)
        if isinstance(self.meets, Exception):
            raise self.meets
        return self.meets


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(urllib.request, "build_opener", lambda *parts: network)
    return network


def status(code: int, body: bytes = b"", **headers: str) -> urllib.error.HTTPError:
    given = Message()
    for name, value in headers.items():
        given[name] = value
    return urllib.error.HTTPError(URL, code, "said", given, io.BytesIO(body))


@pytest.mark.parametrize(
    ("met", "words"),
    [
        (urllib.error.URLError(ConnectionRefusedError(111, "refused")), "connection refused"),
        (urllib.error.URLError(OSError(113, "No route to host")), "No route to host"),
        (TimeoutError("timed out"), "no answer in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (http.client.IncompleteRead(b"x"), "IncompleteRead"),
        (http.client.BadStatusLine("garbage\r\n"), "garbage"),
        (http.client.InvalidURL("nonnumeric port: 'x'"), "nonnumeric port"),
    ],
)
def test_no_answer_is_an_answer_too(network: Network, met: Exception, words: str) -> None:
    network.meets = met
    answer = get_json(URL)
    assert answer.status is None
    assert words in answer.text
    assert "\n" not in answer.text


def test_a_refusal_keeps_status_json_and_headers(network: Network) -> None:
    network.meets = status(401, b'{"error": "no\\nkey"}', Server="uvicorn")
    answer = get_json(URL)
    assert answer == Answer(
        401, {"error": "no\nkey"}, '{"error": "no\\nkey"}', {"server": "uvicorn"}
    )
    network.meets = status(502, b"<html>\n" + b"x" * 10_000)
    answer = get_json(URL)
    assert (answer.status, answer.body) == (502, None)
    assert len(answer.text) == 160


def test_a_key_is_for_the_asked_host_alone(network: Network) -> None:
    network.meets = status(302, Location="http://elsewhere/")
    assert get_json(URL, "s3cret").status == 302
    (request,) = network.sent
    assert request.unredirected_hdrs == {"Authorization": "Bearer s3cret"}
    assert request.headers == {}


def test_redirects_are_not_followed() -> None:
    request, told = urllib.request.Request(URL), (io.BytesIO(), 302, "", Message(), "http://e/")
    assert NoRedirect().redirect_request(request, *told) is None


def test_a_post_sends_json_and_its_headers_and_no_key_to_a_redirect(network: Network) -> None:
    network.meets = status(302, Location="http://elsewhere/")
    answer = post_json(URL, {"a": ["ü"]}, "s3cret", headers={"Idempotency-Key": "k"})
    assert answer.status == 302
    (request,) = network.sent
    assert request.get_method() == "POST"
    assert request.data == b'{"a": ["\\u00fc"]}'
    assert request.headers == {"Content-type": "application/json", "Idempotency-key": "k"}
    assert request.unredirected_hdrs == {"Authorization": "Bearer s3cret"}
