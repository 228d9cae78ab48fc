"""A small load generator for the OpenAI completions API: exact lengths, honest times, little CPU.

Prompts go out as token ids and the output length is forced, so that every request is the one that
was planned. Only the first and the last event of an answer are parsed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import Iterator, Sequence
from typing import Any

from optikit.adapters.http import HttpError, load_session, post_events
from optikit.spec.endpoint import Endpoint
from optikit.spec.timing import PlannedRequest, RequestTiming

__all__ = ["GENERATOR", "OpenAIGenerator"]

_DONE = b"[DONE]"
_EXCERPT = 160


class OpenAIGenerator:
    """Streams ``/v1/completions``; see :class:`optikit.loadgen.base.LoadGenerator`."""

    name = "openai"

    def run(
        self,
        endpoint: Endpoint,
        requests: Sequence[PlannedRequest],
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
    ) -> list[RequestTiming]:
        """Send all requests; call it from a thread that runs no event loop."""
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()  # a collection in the middle of a probe would be measured as latency
        try:
            return asyncio.run(_Run(endpoint, requests).run(concurrency, timeout_s))
        finally:
            if collecting:
                gc.enable()


class _Run:
    """One run: what its requests share."""

    def __init__(self, endpoint: Endpoint, requests: Sequence[PlannedRequest]) -> None:
        self._url = f"{endpoint.base_url.rstrip('/')}/v1/completions"
        self._headers = {"Content-Type": "application/json"}
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._requests = requests
        # Encoded before the clock starts: a long prompt takes milliseconds.
        self._bodies = [_body(endpoint.model, request) for request in requests]
        self._timings = [RequestTiming(request.index, request.at_s) for request in requests]

    async def run(self, concurrency: int | None, timeout_s: float) -> list[RequestTiming]:
        self._clock = asyncio.get_running_loop().time
        async with load_session() as self._session:
            self._start = self._clock()
            work = self._open_loop() if concurrency is None else self._closed_loop(concurrency)
            try:
                async with asyncio.timeout(timeout_s):
                    await work
            except TimeoutError:
                for timing in self._timings:
                    if timing.end_s is None and timing.error is None:
                        timing.error = f"not finished in {timeout_s:.0f} s"
        return self._timings

    def _now(self) -> float:
        return self._clock() - self._start

    async def _open_loop(self) -> None:
        order = sorted(range(len(self._requests)), key=lambda i: self._requests[i].at_s)
        async with asyncio.TaskGroup() as group:
            for position in order:
                delay = self._requests[position].at_s - self._now()
                if delay > 0:
                    await asyncio.sleep(delay)
                group.create_task(self._send(position))

    async def _closed_loop(self, concurrency: int) -> None:
        positions = iter(range(len(self._requests)))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(self._requests))):
                group.create_task(self._work(positions))

    async def _work(self, positions: Iterator[int]) -> None:
        for position in positions:
            self._timings[position].scheduled_s = self._now()
            await self._send(position)

    async def _send(self, position: int) -> None:
        """One request; whatever goes wrong with it is written into its timing."""
        timing = self._timings[position]
        timing.sent_s = self._now()
        events = post_events(self._session, self._url, self._bodies[position], self._headers)
        last = b""
        try:
            async with contextlib.aclosing(events):
                async for at, payload in events:  # to its end, so that the connection is kept
                    if payload == _DONE:
                        continue
                    if timing.first_token_s is None and _parse(payload).get("choices"):
                        timing.first_token_s = at - self._start
                    last, ended = payload, at - self._start
            if timing.first_token_s is None:
                raise HttpError("the answer has no token")
            usage = _parse(last).get("usage")
        except HttpError as error:
            timing.error = str(error)
            return
        timing.end_s = ended
        asked = self._requests[position].output_tokens
        if not usage:
            timing.error = "asked for usage, got none: the server ignores stream_options"
            return
        timing.prompt_tokens = usage.get("prompt_tokens", 0)
        timing.output_tokens = usage.get("completion_tokens", 0)
        if timing.output_tokens != asked:
            timing.error = f"asked {asked} tokens, got {timing.output_tokens}"


def _body(model: str, request: PlannedRequest) -> bytes:
    return json.dumps(
        {
            "model": model,
            "prompt": request.prompt,
            "max_tokens": request.output_tokens,
            "min_tokens": request.output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        separators=(",", ":"),
    ).encode()


def _parse(payload: bytes) -> dict[str, Any]:
    """One event.

    Raises:
        HttpError: it is no JSON object, or an error that the server put into the stream.
    """
    try:
        found = json.loads(payload)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HttpError(f"unreadable event: {payload[:_EXCERPT]!r}")
    if found.get("error"):
        error = found["error"]
        text = error.get("message", error) if isinstance(error, dict) else error
        raise HttpError(f"error in the stream: {text}"[:_EXCERPT])
    return found


GENERATOR = OpenAIGenerator()
