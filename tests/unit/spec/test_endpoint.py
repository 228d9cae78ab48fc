"""An endpoint's address, and which prompts its API takes."""

from __future__ import annotations

import pytest

from optikit.errors import SpecError
from optikit.spec.endpoint import Endpoint

BASE = {"base_url": "http://127.0.0.1:8000", "model": "m"}


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_an_address_ends_before_v1(tail: str) -> None:
    found = Endpoint.parse(BASE | {"base_url": f"https://host.example/llm{tail}", "vocab": 9})
    assert found.base_url == "https://host.example/llm"


def test_chat_sends_text_and_needs_no_vocabulary() -> None:
    assert Endpoint.parse(BASE | {"api": "chat"}).prompts == "text"
    assert Endpoint.parse(BASE | {"vocab": 9}).prompts == "tokens"
    assert Endpoint.parse(BASE | {"prompts": "text"}).vocab == 0


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "needs vocab"),
        ({"api": "chat", "prompts": "tokens"}, "takes no token ids"),
        ({"base_url": "127.0.0.1:8000"}, "http://127.0.0.1:8000"),
        ({"base_url": "ftp://host"}, "http://127.0.0.1:8000"),
        ({"base_url": "http://"}, "http://127.0.0.1:8000"),
        ({"base_url": "http://me:secret@host"}, "give it as api_key"),
        ({"base_url": "http://host/?key=1"}, "no \\? or # part"),
        ({"vocab": -1}, "vocab"),
    ],
)
def test_what_is_no_endpoint(given: dict[str, object], error: str) -> None:
    with pytest.raises(SpecError, match=error) as caught:
        Endpoint.parse(BASE | given)
    assert "secret" not in str(caught.value)


def test_the_key_is_not_shown() -> None:
    found = Endpoint.parse(BASE | {"vocab": 9, "api_key": "very-secret"})
    assert "very-secret" not in repr(found)
    assert found.api_key == "very-secret"
