"""Bodies that are too large, too deep or too slow, as an ASGI server hands them over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from optikit.service.bounded import Bounded
from optikit.service.limits import Limits

LIMITS = Limits(body_bytes=100, depth=4, body_s=0.05)


class App:
    """Remembers what it was asked, answers 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message["more_body"] is False
        self.bodies.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def asked(app: App, *parts: bytes, length: str | None = None, stalls: bool = False) -> Any:
    """(status, headers, body) of one request; None where nothing was answered."""
    sent: list[MutableMapping[str, Any]] = []
    left = list(parts)

    async def receive() -> MutableMapping[str, Any]:
        if not left:
            if stalls:
                await asyncio.sleep(60)
            return {"type": "http.disconnect"}
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or stalls}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-length", length.encode())] if length is not None else []
    scope = {"type": "http", "headers": headers}
    asyncio.run(Bounded(app, LIMITS)(scope, receive, send))
    if not sent:
        return None
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_a_body_in_parts_is_handed_on_whole() -> None:
    app = App()
    status, headers, _ = asked(app, b"[1,", b"2]")
    assert (status, app.bodies) == (200, [b"[1,2]"])
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    ("parts", "length", "status"),
    [
        ([b"x" * 100], "100", 200),
        ([b"x"], "101", 413),
        ([b"x"], "9" * 5000, 413),
        ([b"x" * 60, b"x" * 60], None, 413),
        ([b"x" * 60, b"x" * 60], "3", 413),
        ([b"[[[[]]]]"], None, 200),
        ([b"[[[[[]]]]]"], None, 413),
    ],
)
def test_bounds(parts: list[bytes], length: str | None, status: int) -> None:
    app = App()
    answer = asked(app, *parts, length=length)
    assert answer[0] == status
    assert bool(app.bodies) == (status == 200)
    if status == 413:
        assert json.loads(answer[2])["error"]["kind"] == "TooLarge"
        assert answer[1][b"connection"] == b"close"


def test_a_body_that_never_comes_is_not_waited_for() -> None:
    app = App()
    status, _, body = asked(app, b"[1,", stalls=True)
    assert (status, app.bodies) == (408, [])
    assert json.loads(body)["error"]["kind"] == "Busy"


def test_who_leaves_is_not_answered() -> None:
    app = App()
    assert asked(app) is None
    assert app.bodies == []
