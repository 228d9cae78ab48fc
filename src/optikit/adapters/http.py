"""The one importer of aiohttp: a session for load, a streaming POST, and a plain one."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from optikit.errors import EngineError

__all__ = [
    "MAX_LINE",
    "ClientError",
    "EventLines",
    "HttpError",
    "load_session",
    "post_events",
    "post_json",
]

ClientError = aiohttp.ClientError
"""What a library that speaks HTTP through aiohttp raises."""

MAX_LINE = 1 << 20
"""Bytes of one event; more is no answer of a language model, and would be kept in memory."""
MAX_JSON = 32 << 20
"""Bytes of one plain answer: the token ids of a prompt of some million tokens."""
_KEEP_ALIVE_S = 2.0
"""Below the 5 s after which uvicorn, and so vLLM, closes an idle connection: a request sent on a
connection that is being closed would be lost."""
_AFTER_END_S = 0.5
"""How long to wait, after the last event, for the end that lets the connection be used again."""
_LOCAL_ERRORS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS)
_EXCERPT = 160
_READ = 4096
_LENGTH_FIELDS = (b"min_tokens", b"ignore_eos")


class HttpError(EngineError):
    """A request that was not answered as it should; the message is short enough for a record.

    It begins with ``client:`` where this machine could or would not send it, with ``HTTP <status>``
    where the server refused it, with ``asked`` where it did something else than was asked.
    """


class EventLines:
    """Cuts a stream of server-sent events into ``data:`` payloads; keeps one line at most."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[bytes]:
        """The payloads that ``block`` completes, without the field name.

        Raises:
            HttpError: a line is longer than ``MAX_LINE``.
        """
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise HttpError(f"an event of more than {MAX_LINE >> 20} MB")
        found = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        return [payload for payload in found if payload]


def load_session() -> aiohttp.ClientSession:
    """A session without any limit on connections or time; close it (``async with``).

    It must be made inside a running event loop. Proxies of the environment are ignored, a name is
    looked up once.
    """
    connector = aiohttp.TCPConnector(
        limit=0, limit_per_host=0, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=None
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "Content-Type": "application/json"},
    )


async def post_events(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    take: Callable[[float, bytes], bool],
) -> None:
    """POST ``body`` and hand each ``data:`` payload of the answer's events to ``take``.

    Args:
        take: gets the arrival time by the running loop's clock in seconds and the payload; True:
            this was the last one. What it raises ends the request and comes out here.

    Raises:
        HttpError: no connection, a status other than 200, no event stream, or one that broke off.
    """
    clock = asyncio.get_running_loop().time
    lines = EventLines()
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise HttpError(_refusal(response, await response.content.read(_READ)))
            if response.content_type == "application/json":
                text = _excerpt(await response.content.read(_READ))
                raise HttpError(f"asked for a stream, got plain JSON: {text}")
            while block := await response.content.readany():
                now = clock()
                for payload in lines.feed(block):
                    if take(now, payload):
                        await _to_the_end(response)
                        return
    except (aiohttp.ClientError, OSError) as error:
        raise HttpError(_words(error)) from error


async def _to_the_end(response: aiohttp.ClientResponse) -> None:
    """Read what is left, so that the connection is kept; not for long."""
    if response.content.at_eof():
        return
    try:
        async with asyncio.timeout(_AFTER_END_S):
            while await response.content.readany():
                pass
    except TimeoutError:
        pass  # the answer is whole; the connection is closed instead


async def post_json(
    session: aiohttp.ClientSession, url: str, body: Any, headers: Mapping[str, str]
) -> Any:
    """POST ``body`` as JSON; the answer's JSON.

    Raises:
        HttpError: no connection, a status other than 200, or no JSON.
    """
    data = json.dumps(body).encode()
    try:
        async with session.post(url, data=data, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise HttpError(_refusal(response, await response.content.read(_READ)))
            found = bytearray()
            while block := await response.content.readany():
                found += block
                if len(found) > MAX_JSON:
                    raise HttpError(f"an answer of more than {MAX_JSON >> 20} MB")
    except (aiohttp.ClientError, OSError) as error:
        raise HttpError(_words(error)) from error
    try:
        return json.loads(found)
    except ValueError:
        raise HttpError(f"asked for JSON, got {_excerpt(found)}") from None


def _excerpt(data: bytes | bytearray) -> str:
    return " ".join(data.decode(errors="replace").split())[:_EXCERPT]


def _refusal(response: aiohttp.ClientResponse, data: bytes) -> str:
    status = response.status
    if 300 <= status < 400:
        where = response.headers.get("Location", "nowhere")
        return f"client: HTTP {status}, a redirect that is not followed, to {where}"[:_EXCERPT]
    if status in (400, 422) and any(name in data for name in _LENGTH_FIELDS):
        return (
            f"HTTP {status}: the server refuses min_tokens or ignore_eos; enforce_length: false "
            f"leaves them out. It says: {_excerpt(data)}"
        )[: _EXCERPT + 40]
    return f"HTTP {status}: {_excerpt(data)}"


def _words(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in _LOCAL_ERRORS:
        return f"client: {error}"[:_EXCERPT]
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"client: the server's certificate is not trusted: {error.certificate_error}"[
            :_EXCERPT
        ]
    if isinstance(error, aiohttp.ClientSSLError):
        return f"client: no TLS connection: {error}"[:_EXCERPT]
    if isinstance(error, aiohttp.ClientConnectorDNSError | aiohttp.InvalidURL):
        return f"client: no such host: {error}"[:_EXCERPT]
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the server closed the connection before the answer was whole"
    if isinstance(error, ConnectionRefusedError) or number == errno.ECONNREFUSED:
        return "connection refused"
    if isinstance(error, ConnectionResetError) or number == errno.ECONNRESET:
        return "the server reset the connection"
    return " ".join(f"{type(error).__name__}: {error}".split())[:_EXCERPT]
