"""The one importer of aiohttp: a session for load, and a streaming POST."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Mapping

import aiohttp

from optikit.errors import EngineError

__all__ = ["ClientError", "HttpError", "load_session", "post_events"]

ClientError = aiohttp.ClientError
"""What a library that speaks HTTP through aiohttp raises."""

_KEEP_ALIVE_S = 2.0
"""Below the 5 s after which uvicorn, and so vLLM, closes an idle connection: a request sent on a
connection that is being closed would be lost."""
_LOCAL_ERRORS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS)
_EXCERPT = 160


class HttpError(EngineError):
    """A request that was not answered as it should; the message is short enough for a record.

    It begins with ``client:`` where this machine could not send it, with ``HTTP <status>`` where
    the server refused it.
    """


def load_session() -> aiohttp.ClientSession:
    """A session without any limit on connections or time; close it (``async with``).

    It must be made inside a running event loop. Proxies of the environment are ignored.
    """
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=_KEEP_ALIVE_S)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def post_events(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]
) -> AsyncGenerator[tuple[float, bytes], None]:
    """POST ``body`` and yield each ``data:`` payload of the answer's server-sent events.

    Yields:
        (arrival time by the running loop's clock in seconds, payload without the field name).

    Raises:
        HttpError: no connection, a status other than 200, or a stream that broke off.
    """
    clock = asyncio.get_running_loop().time
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                text = (await response.text(errors="replace"))[:_EXCERPT]
                raise HttpError(f"HTTP {response.status}: {' '.join(text.split())}")
            rest = b""
            async for block in response.content.iter_any():
                now = clock()
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    if line.startswith(b"data:"):
                        yield now, line[5:].strip()
    except (aiohttp.ClientError, OSError) as error:
        raise HttpError(_words(error)) from error


def _words(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in _LOCAL_ERRORS:
        return f"client: {error}"[:_EXCERPT]
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    if isinstance(error, ConnectionRefusedError) or number == errno.ECONNREFUSED:
        return "connection refused"
    return f"{type(error).__name__}: {error}"[:_EXCERPT]
