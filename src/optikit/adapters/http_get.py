"""One small GET or POST without a session, and how far away a host is."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any

__all__ = ["Answer", "NoRedirect", "connect_ms", "get_json", "get_text", "post_json"]

_MOST_BYTES = 4 << 20
_EXCERPT = 160


@dataclass(frozen=True)
class Answer:
    """What came back; ``status`` is None where nothing did."""

    status: int | None
    body: Any = None
    """The JSON, None where it is none."""
    text: str = ""
    """The beginning of the body, or why there is none, in one line."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to somebody else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        """None: the redirect is the answer."""
        return None


def get_json(url: str, api_key: str | None = None, timeout_s: float = 10.0) -> Answer:
    """GET ``url``; proxies of the environment are ignored, no redirect is followed.

    Nothing is raised: a server that is down is an answer too.

    Args:
        url: begins with http:// or https://.
        timeout_s: for each wait on the connection.
    """
    return _asked(urllib.request.Request(url), api_key, timeout_s)  # noqa: S310


def get_text(url: str, api_key: str | None = None, timeout_s: float = 10.0) -> str:
    """The text at ``url``, at most 4 MiB of it; empty where the answer is no 200. As ``get_json``
    otherwise."""
    request = urllib.request.Request(url)  # noqa: S310
    if api_key:
        request.add_unredirected_header("Authorization", f"Bearer {api_key}")
    try:
        with _direct().open(request, timeout=timeout_s) as response:
            found: bytes = response.read(_MOST_BYTES) if response.status == 200 else b""
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return found.decode(errors="replace")


def connect_ms(url: str, times: int = 5, timeout_s: float = 5.0) -> float | None:
    """Median time in ms that a TCP connection to the host of ``url`` takes: one round trip of the
    network, once the name is known; None where there is none."""
    place = urllib.parse.urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    took = []
    try:
        where = socket.getaddrinfo(place.hostname, port, type=socket.SOCK_STREAM)[0][4]
        for _ in range(times):
            begun = time.perf_counter()
            with socket.create_connection((str(where[0]), port), timeout_s):
                took.append(1000 * (time.perf_counter() - begun))
    except OSError:
        return None
    return statistics.median(took)


def post_json(
    url: str,
    body: Any,
    api_key: str | None = None,
    timeout_s: float = 10.0,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """POST ``body`` as JSON; otherwise as ``get_json``.

    Args:
        headers: further ones.
    """
    data = json.dumps(body).encode()
    given = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, given, method="POST")  # noqa: S310
    return _asked(request, api_key, timeout_s)


def _asked(request: urllib.request.Request, api_key: str | None, timeout_s: float) -> Answer:
    if api_key:
        request.add_unredirected_header("Authorization", f"Bearer {api_key}")
    try:
        with _direct().open(request, timeout=timeout_s) as response:
            return _answer(response.status, response.read(_MOST_BYTES), response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, _beginning(error), error.headers)
    except urllib.error.URLError as error:
        return Answer(None, text=_words(error.reason))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(None, text=_words(error))


def _direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


def _beginning(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return b""


def _answer(status: int, data: bytes, headers: Message) -> Answer:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    text = " ".join(data[:4000].decode(errors="replace").split())[:_EXCERPT]
    return Answer(status, body, text, {name.lower(): value for name, value in headers.items()})


def _words(reason: object) -> str:
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(f"{text or type(reason).__name__}".split())[:_EXCERPT]
