"""Stands for vLLM's server where faults are injected: the same API, a start of a tenth of a second.

The benchmark's stand-in interpreter runs it in the place of ``_vllm_forked.py``, so that all of
``engines/vllm.py`` is at work: supervisor, guard, lifeline, readiness, log, end. Standard library
only. ``$VLLM_STANDIN`` names a folder: ``starts`` has a line for each start so far, ``faults.json``
says what goes wrong, as ``{"<number of the start>" or "all": {"kind": ..., "after": requests}}``::

    hang at start     never listens              exit 0           ends well before it listens
    http 500          refuses from request N on  hang             says nothing from request N on
    slow              50 times slower from N on  die              ends in the middle of request N
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

SERVICE_S = 0.004
SLOWER = 50.0
FOREVER_S = 3600.0


def fault_of(folder: Path) -> tuple[str, int]:
    """What goes wrong in this start, and from which request on."""
    with (folder / "starts").open("a+") as file:
        file.write("x\n")
        file.flush()
        file.seek(0)
        number = len(file.readlines())
    faults = json.loads((folder / "faults.json").read_text())
    found = faults.get(str(number)) or faults.get("all") or {}
    return str(found.get("kind", "")), int(found.get("after", 0))


def chunk(payload: str) -> bytes:
    """One event of a stream."""
    data = f"data: {payload}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
TOKEN = chunk(json.dumps({"choices": [{"index": 0, "text": " word", "finish_reason": None}]}))


def plain(status: str, content: dict[str, object]) -> bytes:
    """A whole answer."""
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Server:
    """Answers requests one by one on each connection."""

    def __init__(self, kind: str, after: int) -> None:
        self.kind, self.after, self.seen = kind, after, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                sizes = [
                    int(line.split(":")[1])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length:")
                ]
                body = await reader.readexactly(sizes[0]) if sizes else b""
                await self.answer(json.loads(body) if body else {}, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def answer(self, asked: dict[str, object], writer: asyncio.StreamWriter) -> None:
        """One request, or what goes wrong with it."""
        self.seen += 1
        fault = self.kind if self.seen > self.after else ""
        if fault == "http 500":
            writer.write(plain("500 Internal Server Error", {"error": "the engine is ill"}))
            await writer.drain()
            return
        if fault == "hang":
            await asyncio.sleep(FOREVER_S)
        if fault == "die":
            print("RuntimeError: the stand-in dies as it was told", flush=True)
            os._exit(1)
        tokens = int(str(asked.get("max_tokens", 1)))
        prompt = asked.get("prompt")
        usage = {
            "prompt_tokens": len(prompt) if isinstance(prompt, list) else 1,
            "completion_tokens": tokens,
        }
        await asyncio.sleep(SERVICE_S * (SLOWER if fault == "slow" else 1.0))
        if not asked.get("stream"):
            writer.write(plain("200 OK", {"choices": [{"text": "word"}], "usage": usage}))
        else:
            last = chunk(json.dumps({"choices": [], "usage": usage})) + chunk("[DONE]")
            writer.write(HEAD + TOKEN * tokens + last + b"0\r\n\r\n")
        await writer.drain()


async def main(port: int) -> None:
    """Serve until somebody ends the process."""
    kind, after = fault_of(Path(os.environ["VLLM_STANDIN"]))
    print(f"stand-in on port {port}: {kind or 'sound'}", flush=True)
    if kind == "hang at start":
        time.sleep(FOREVER_S)
    if kind == "exit 0":
        return
    server = Server(kind, after)
    async with await asyncio.start_server(server.serve, "127.0.0.1", port):
        await asyncio.sleep(FOREVER_S)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[sys.argv.index("--port") + 1])))
