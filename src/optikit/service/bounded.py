"""What no request gets past: a body that is too large, too deep or too slow. Plain ASGI.

The body is read whole, up to its bound, before anything is made of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from optikit.service.limits import Limits, check_depth
from optikit.service.refusals import Busy, Refused, TooLarge, body_of, headers_of, status_of

__all__ = ["Bounded"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Bounded:
    """Around the application; see above."""

    def __init__(self, app: _App, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """One connection of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_ALWAYS]
            await send(message)

        try:
            body = await self._body(scope, receive)
        except Refused as refused:
            await _answer(guarded, refused)
            return
        if body is None:
            return  # the client has gone
        given = False

        async def replay() -> _Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, guarded)

    async def _body(self, scope: _Message, receive: _Receive) -> bytes | None:
        most = self._limits.body_bytes
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(value.isdigit() and int(value[:20]) > most for value in lengths):
            raise TooLarge(f"the request is larger than {most} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise TooLarge(f"the request is larger than {most} bytes")
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Busy(
                f"the request's body was not there within {self._limits.body_s:g} s"
            ) from None
        check_depth(bytes(body), self._limits.depth)
        return bytes(body)


async def _answer(send: _Send, refused: Refused) -> None:
    content = json.dumps(body_of(type(refused).__name__, str(refused))).encode()
    headers = {
        **headers_of(refused),
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",  # what is left of the body is not read
    }
    start: _Message = {
        "type": "http.response.start",
        "status": status_of(refused),
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": content})
