from __future__ import annotations

import asyncio
from typing import Any

import pytest

from optikit.engines._vllm_guard import Guard


def asked(path: str, *headers: tuple[bytes, bytes], kind: str = "http") -> tuple[bool, list[Any]]:
    """Whether the app was reached, and what was sent."""
    reached, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "headers": list(headers), "method": "GET"}
    asyncio.run(Guard(app)(scope, receive, send))
    return reached == [path], sent


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "k3y")


@pytest.mark.parametrize("path", ["/v1/completions", "/health", "/metrics", "/invocations", "/"])
def test_every_path_asks_for_the_key(path: str) -> None:
    passed, sent = asked(path)
    assert not passed
    assert sent[0]["status"] == 401
    assert asked(path, (b"Authorization", b"Bearer k3y")) == (True, [])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer other")],
        [(b"authorization", b"Bearer k3y ")],
        [(b"authorization", b"k3y")],
        [(b"authorization", b"Bearer k3y"), (b"authorization", b"Bearer other")],
        [(b"x-api-key", b"k3y")],
    ],
)
def test_another_key_is_none(headers: list[tuple[bytes, bytes]]) -> None:
    assert not asked("/health", *headers)[0]


def test_sockets_are_closed_and_the_servers_own_start_passes() -> None:
    passed, sent = asked("/v1/realtime", kind="websocket")
    assert (passed, sent[0]["type"]) == (False, "websocket.close")
    assert asked("", kind="lifespan")[0]
