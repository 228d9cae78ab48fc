"""A real HTTP server that speaks the OpenAI API, of known service time, and misbehaves on wish."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aiohttp import web

from optikit.spec.endpoint import Endpoint

VOCAB = 5000


@dataclass
class Server:
    """``slots`` requests at a time; the first token and then the others come on time.

    ``fault`` names a misbehaviour (see ``answer``), which hits every ``every``-th request. Text is
    counted a token a word, those of ``long_words`` two, and ``template`` for the chat template.
    """

    first_s: float = 0.0
    token_s: float = 0.0
    slots: int = 1000
    fault: str = ""
    every: int = 1
    tokens_an_event: int = 1
    tokenizer: str = "right"
    """``/tokenize`` is right, wrong or missing."""
    template: int = 9
    long_words: tuple[str, ...] = ()
    served: tuple[str, ...] = ("fake",)
    """Names of ``/v1/models``."""
    max_model_len: int = 4096
    api_key: str = ""
    """What ``/v1`` asks for; nothing where it is empty."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)
    counted: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    dropped: int = 0
    url: str = ""
    seen: int = 0

    STATUS: ClassVar[dict[str, int]] = {"400": 400, "429": 429, "500": 500}

    # ---- plain answers

    def count(self, body: dict[str, Any]) -> int:
        if "messages" in body:
            return self.template + self._words(body["messages"][0]["content"])
        prompt = body["prompt"]
        return self._words(prompt) if isinstance(prompt, str) else len(prompt)

    def _words(self, text: str) -> int:
        return sum(2 if word in self.long_words else 1 for word in text.split())

    async def tokenize(self, request: web.Request) -> web.Response:
        if self.tokenizer == "missing":
            return web.json_response({"detail": "Not Found"}, status=404)
        self.counted.append("tokenize")
        tokens = self.count(await request.json()) + (self.tokenizer == "wrong")
        return web.json_response({"count": tokens, "tokens": [1] * tokens})

    async def models(self, request: web.Request) -> web.Response:
        if self.fault == "no API":
            return web.json_response({"detail": "Not Found"}, status=404)
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        rows = [
            {"id": name, "owned_by": "vllm", "max_model_len": self.max_model_len}
            for name in self.served
        ]
        return web.json_response({"object": "list", "data": rows})

    async def metrics(self, request: web.Request) -> web.Response:
        labels = 'block_size="16",cache_dtype="auto",enable_prefix_caching="False",other="x"'
        return web.Response(text=f"# HELP x\nvllm:cache_config_info{{{labels}}} 1.0\n")

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def _whole(self, body: dict[str, Any]) -> web.Response:
        self.counted.append("answer")
        usage = {"prompt_tokens": self.count(body), "completion_tokens": body.get("max_tokens", 1)}
        if self.fault == "no usage":
            usage = {}
        return web.json_response({"choices": [{"text": "x"}], "usage": usage})

    # ---- streams

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        if self.fault == "no ids" and isinstance(body.get("prompt"), list):
            return web.json_response({"error": "prompt must be a string"}, status=400)
        if not body.get("stream"):
            if self.fault == "strict" and "min_tokens" in body:
                return web.json_response({"detail": "unknown argument: min_tokens"}, status=422)
            return await self._whole(body)
        self.bodies.append(body)
        self.headers.append(request.headers.get("Authorization"))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self.seen += 1
        fault = self.fault if self.seen % self.every == 0 else ""
        if fault in self.STATUS:
            text = {"message": f"no\n {fault}", "filler": "x" * 100_000}
            return web.json_response(text, status=self.STATUS[fault], headers={"Retry-After": "1"})
        if fault == "strict" and "min_tokens" in body:
            text = {"detail": "Unrecognized request argument: min_tokens"}
            return web.json_response(text, status=422)
        if fault == "redirect":
            raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/elsewhere")
        if fault == "plain json":
            return await self._whole(body)
        if fault == "silent":
            async with self._slot():
                await asyncio.sleep(30)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with self._slot():
            await self._stream(request, response, body, fault)
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, body: dict[str, Any], fault: str
    ) -> None:
        assert request.transport is not None
        chat = "messages" in body
        if fault == "stream error":
            return await _event(response, {"error": {"message": "engine is dead", "code": 500}})
        if fault == "garbage":
            await response.write(b"data: {not json\n\n")
        if fault == "huge":
            for _ in range(400):
                await response.write(b"data: " + b"x" * 10_000)
        if chat:
            await _event(response, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        if fault == "blank":
            for _ in range(3):
                await _event(response, {"choices": [_choice("", chat)]})
        await response.write(b": keep-alive\n\n")
        size = body["max_tokens"] - (fault == "short")
        await self._tokens(response, size, chat, fault)
        if fault == "hang":
            await asyncio.sleep(30)
        if fault == "hang up":
            request.transport.close()
        if fault in ("hang up", "cut"):
            return None
        usage = {
            "prompt_tokens": self.count(body) + 2 * (fault == "miscount"),
            "completion_tokens": size,
        }
        if fault != "no usage":
            await _event(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        if fault == "open end":
            await asyncio.sleep(30)
        return None

    async def _tokens(
        self, response: web.StreamResponse, size: int, chat: bool, fault: str
    ) -> None:
        await asyncio.sleep(self.first_s)
        sent = 0
        while sent < size or fault == "endless":
            if sent:
                await asyncio.sleep(self.token_s)
            sent += self.tokens_an_event
            # half a character: a token without text
            text = "" if fault == "half" and sent == 1 else "x"
            await _event(response, {"choices": [_choice(text, chat)], "usage": None})

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._gate:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                yield
            except (asyncio.CancelledError, ConnectionError):
                self.dropped += 1
                raise
            finally:
                self.in_flight -= 1

    async def serve(
        self, ready: threading.Event, stop: asyncio.Event, tls: ssl.SSLContext | None
    ) -> None:
        self._gate = asyncio.Semaphore(self.slots)
        application = web.Application()
        application.router.add_post("/v1/completions", self.answer)
        application.router.add_post("/v1/chat/completions", self.answer)
        application.router.add_post("/tokenize", self.tokenize)
        application.router.add_get("/v1/models", self.models)
        application.router.add_get("/version", self.version)
        application.router.add_get("/metrics", self.metrics)
        runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.2
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024, ssl_context=tls)
        await site.start()
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{int(runner.addresses[0][1])}"
        ready.set()
        await stop.wait()
        await runner.cleanup()


def _choice(text: str, chat: bool) -> dict[str, Any]:
    return {"delta": {"content": text}} if chat else {"text": text}


async def _event(response: web.StreamResponse, data: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(data)}\n\n".encode())


@contextmanager
def served(
    server: Server, tls: ssl.SSLContext | None = None, **endpoint: Any
) -> Iterator[Endpoint]:
    """The server on a free port of the loopback address, in a thread of its own."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    def work() -> None:
        loop.run_until_complete(server.serve(ready, stop, tls))
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(5)
    try:
        given = {"model": "fake", "vocab": VOCAB, "api_key": "secret"} | endpoint
        yield Endpoint(base_url=server.url, **given)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
