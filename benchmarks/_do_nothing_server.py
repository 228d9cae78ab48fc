"""A server that answers a fixed stream at once: what is left of a latency is the client's.

    python benchmarks/_do_nothing_server.py

It prints its port, serves until its standard input ends, and then prints when each request came
and how long its answer took, in seconds of the machine's monotonic clock, as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys

PROMPT_TOKENS, OUTPUT_TOKENS = 32, 8
USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": PROMPT_TOKENS + OUTPUT_TOKENS,
}
came: list[float] = []
took: list[float] = []


def chunk(payload: bytes) -> bytes:
    """One chunk of HTTP's chunked encoding."""
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def event(**fields: object) -> bytes:
    """One server-sent event as vLLM writes it, as a chunk."""
    facts = {"id": "cmpl-0", "object": "text_completion", "created": 0, "model": "fake", **fields}
    return chunk(b"data: " + json.dumps(facts, separators=(",", ":")).encode() + b"\n\n")


def token(index: int) -> bytes:
    """The event of one token."""
    reason = "length" if index == OUTPUT_TOKENS - 1 else None
    choice = {"index": 0, "text": " word", "logprobs": None, "finish_reason": reason}
    return event(choices=[choice], usage=None)


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
STREAM = [
    HEAD + token(0),
    *(token(i) for i in range(1, OUTPUT_TOKENS)),
    event(choices=[], usage=USAGE) + chunk(b"data: [DONE]\n\n") + chunk(b""),
]
MODELS = json.dumps({"object": "list", "data": [{"id": "fake", "object": "model"}]}).encode()
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(MODELS),
    MODELS,
)


class Connection(asyncio.Protocol):
    """As much HTTP/1.1 as the two clients speak."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._clock = asyncio.get_running_loop().time
        self._data = b""

    def data_received(self, data: bytes) -> None:
        """Answer once the request is here whole."""
        now = self._clock()
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        if not mark:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if len(body) < length:
            return
        self._data = b""
        if not head.startswith(b"POST"):
            self._transport.write(PLAIN)
            return
        for part in STREAM:
            self._transport.write(part)
        came.append(now)
        took.append(self._clock() - now)


async def serve() -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    print(json.dumps({"came_s": came, "took_s": took}), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
