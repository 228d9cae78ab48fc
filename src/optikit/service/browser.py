"""The pages over HTTP, beside the API: plain ASGI. What a browser may send, and what it is told.

A cookie opens the pages and nothing of the API, which asks for the token itself: a form of another
site can submit no job. What changes something must come from a page of this service.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Answer", "Asked", "Browser", "same_origin"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_OURS = re.compile(r"/(?:(?:jobs|sign-in|sign-out|static)(?:/.*)?)?", re.DOTALL)
"""Paths that are pages; every other one is the API's."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The browser itself refuses what would come from elsewhere, and every script that is in a page."""
_ALWAYS = {  # and what bounded.py adds to every answer
    # `no-referrer` would take the origin out of what a form sends
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MOST_FIELDS = 20
_THREADS = 16


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    """Decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in small letters."""
    form: Mapping[str, str]
    https: bool

    @property
    def host(self) -> str:
        """The name by which the service was asked for, without the port."""
        return re.sub(r":\d+$", "", self.headers.get("host", ""))

    @property
    def cookie_name(self) -> str:
        """Cookies do not know ports: two services of one machine would share one name."""
        port = re.search(r":(\d+)$", self.headers.get("host", ""))
        name = f"optikit-{port[1]}" if port else "optikit"
        return f"__Host-{name}" if self.https else name

    def cookie(self, name: str) -> str | None:
        """A cookie's value; what others on this machine set beside it does no harm."""
        pairs = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return next((value for key, _, value in pairs if key == name and value), None)


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: str | bytes | Iterator[bytes] = b""
    status: int = 200
    media_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def same_origin(asked: Asked) -> bool:
    """Whether a page of this service sent it.

    ``SameSite`` cookies are not enough: to them another port of this machine is the same site.
    """
    site = asked.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = asked.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == asked.headers.get("host")


class Browser:
    """Around the API's application; answers what is a page's, passes on what is not.

    Args:
        answer: may take a while; is called in a thread.
        https: whether the service is reached by TLS, also where something in front of it does that.
    """

    def __init__(self, app: _App, answer: Callable[[Asked], Answer], https: bool = False) -> None:
        self._app, self._answer, self._https = app, answer, https
        # not the API's: who reads pages keeps nobody from submitting
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pages")

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """One connection of ASGI."""
        if scope["type"] != "http" or not _OURS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        asked = await self._read(scope, receive)
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, self._answer, asked)
        await self._send(asked, answer, send)

    async def _read(self, scope: _Message, receive: _Receive) -> Asked:
        """The body is there, and bounded: see bounded.py."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers: dict[str, str] = {}
        for key, value in scope["headers"]:
            name = key.decode("latin-1").lower()
            parts = [headers[name]] if name in headers else []
            headers[name] = "; ".join([*parts, value.decode("latin-1")])
        is_form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        return Asked(
            method=scope["method"],
            path=scope["path"],
            query=_fields(scope.get("query_string", b"")),
            headers=headers,
            form=_fields(body) if is_form else {},
            https=self._https or scope.get("scheme") == "https",
        )

    async def _send(self, asked: Asked, answer: Answer, send: _Send) -> None:
        headers = {
            **_ALWAYS,
            "Content-Security-Policy": POLICY,
            "Content-Type": answer.media_type,
            **answer.headers,
        }
        body = answer.body.encode(errors="replace") if isinstance(answer.body, str) else answer.body
        if isinstance(body, bytes) and answer.status != 304:
            headers["Content-Length"] = str(len(body))
        raw = [(k.lower().encode(), v.encode("latin-1", "replace")) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        if asked.method == "HEAD":
            body = b""
        if not isinstance(body, bytes):
            loop = asyncio.get_running_loop()
            while (part := await loop.run_in_executor(self._threads, next, body, None)) is not None:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            body = b""
        await send({"type": "http.response.body", "body": body})


def _fields(text: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(text.decode("latin-1"), max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}
