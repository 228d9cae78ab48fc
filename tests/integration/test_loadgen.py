"""The load client against a real HTTP server of known service time, on loopback."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from optikit.core.metrics import latencies_ms, measure
from optikit.core.prompts import plan_requests
from optikit.core.rate import rate_search
from optikit.loadgen.find_rate import find_rate
from optikit.loadgen.openai import GENERATOR
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.slo import Slo
from optikit.spec.timing import PlannedRequest, RequestTiming
from optikit.spec.workload import Workload

pytestmark = pytest.mark.integration

VOCAB = 5000
WORKLOAD = Workload(prompt_tokens=32, output_tokens=4)


@dataclass
class Fake:
    """Speaks the completions API: ``slots`` at a time, first token and then the rest on time."""

    first_s: float = 0.05
    token_s: float = 0.02
    slots: int = 1000
    fault: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)
    in_flight: int = 0
    most_in_flight: int = 0
    dropped: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(request.headers.get("Authorization"))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        if self.fault == "refuse":
            return web.json_response({"message": "too\n long"}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.fault == "stream error":
            await _event(response, {"error": {"message": "engine is dead", "code": 500}})
            return response
        async with self._slot():
            await self._tokens(response, body)
        if self.fault == "hang up":
            request.transport.close()
            return response
        tokens = body["max_tokens"] - (self.fault == "short")
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": tokens}
        if self.fault != "no usage":
            await _event(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._gate:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                yield
            except asyncio.CancelledError:
                self.dropped += 1
                raise
            finally:
                self.in_flight -= 1

    async def _tokens(self, response: web.StreamResponse, body: dict[str, Any]) -> None:
        await asyncio.sleep(self.first_s)
        for number in range(body["max_tokens"]):
            if number:
                await asyncio.sleep(self.token_s)
            text = "" if number == 0 else "x"  # half a character: a token without text
            await _event(response, {"choices": [{"text": text}], "usage": None})
        if self.fault == "hang":
            await asyncio.sleep(30)

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        self._gate = asyncio.Semaphore(self.slots)
        application = web.Application()
        application.router.add_post("/v1/completions", self.answer)
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.url = site.name if ":0" not in site.name else f"http://127.0.0.1:{_port(runner)}"
        ready.set()
        await stop.wait()
        await runner.cleanup()


def _port(runner: web.AppRunner) -> int:
    return int(runner.addresses[0][1])


async def _event(response: web.StreamResponse, data: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(data)}\n\n".encode())


@contextmanager
def _served(fake: Fake) -> Iterator[Endpoint]:
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    def work() -> None:
        loop.run_until_complete(fake.serve(ready, stop))
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(10)
    try:
        yield Endpoint(base_url=fake.url, model="fake", vocab=VOCAB, api_key="secret")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()


def _plan(count: int, rate: float | None) -> list[PlannedRequest]:
    return plan_requests(WORKLOAD, rate, count, VOCAB, seed=1)


def test_times_and_counts_of_an_open_loop() -> None:
    fake = Fake()
    plan = _plan(60, 60.0)
    with _served(fake) as endpoint:
        timings = GENERATOR.run(endpoint, plan)
    assert [timing.index for timing in timings] == list(range(60))
    assert [timing.scheduled_s for timing in timings] == [request.at_s for request in plan]
    assert all(timing.ok for timing in timings), timings[0]
    assert {(timing.prompt_tokens, timing.output_tokens) for timing in timings} == {(32, 4)}
    found = measure(timings, (), 60.0)
    ttft, tpot = found.quantile("ttft", 50.0), found.quantile("tpot", 50.0)
    e2e = found.quantile("e2e", 50.0)
    assert ttft is not None
    assert tpot is not None
    assert e2e is not None
    assert 50 <= ttft.value_ms < 100  # the client's own share is a few ms
    assert 20 <= tpot.value_ms < 40
    assert 110 <= e2e.value_ms < 200
    lags = sorted(latencies_ms(timings, "lag"))
    assert lags[0] > -0.1
    assert lags[30] < 50  # the median: other work on the machine must not fail a test


def test_requests_are_what_was_planned() -> None:
    fake = Fake(first_s=0.0, token_s=0.0)
    plan = _plan(5, 100.0)
    with _served(fake) as endpoint:
        GENERATOR.run(endpoint, plan)
    assert sorted(body["prompt"] for body in fake.bodies) == sorted(list(r.prompt) for r in plan)
    wanted = {"model": "fake", "max_tokens": 4, "min_tokens": 4, "ignore_eos": True}
    wanted |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    for body in fake.bodies:
        assert body == wanted | {"prompt": body["prompt"]}
    assert set(fake.headers) == {"Bearer secret"}


def test_an_open_loop_never_waits_for_answers() -> None:
    fake = Fake(first_s=1.5, token_s=0.0)
    with _served(fake) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(150, 300.0))
    assert all(timing.ok for timing in timings)
    first_end = min(timing.end_s or 0.0 for timing in timings)
    assert all(timing.sent_s is not None and timing.sent_s < first_end for timing in timings)
    assert fake.most_in_flight > 100  # aiohttp's own limit of connections


def test_a_closed_loop_keeps_so_many_in_flight_and_reuses_connections() -> None:
    fake = Fake(first_s=0.05, token_s=0.0)
    with _served(fake) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(20, None), concurrency=4)
    assert fake.most_in_flight == 4
    assert len(fake.peers) == 4
    assert all(timing.scheduled_s == pytest.approx(timing.sent_s, abs=1e-3) for timing in timings)
    waves = sorted(timing.scheduled_s for timing in timings)[::4]
    assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(waves))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refuse", 'HTTP 400: {"message": "too\\n long"}'),
        ("stream error", "error in the stream: engine is dead"),
        ("hang up", "payload"),
        ("short", "asked 4 tokens, got 3"),
        ("no usage", "asked for usage, got none"),
    ],
)
def test_what_goes_wrong_is_written_down(fault: str, error: str) -> None:
    with _served(Fake(first_s=0.0, token_s=0.0, fault=fault)) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(3, 100.0))
    assert len(timings) == 3
    for timing in timings:
        assert not timing.ok
        assert timing.error is not None
        assert error in timing.error
        assert len(timing.error) < 200


def test_the_deadline_ends_what_hangs_and_lets_go_of_the_server() -> None:
    fake = Fake(first_s=0.0, token_s=0.0, fault="hang")
    with _served(fake) as endpoint:
        began = time.monotonic()
        timings = GENERATOR.run(endpoint, _plan(30, 20.0), timeout_s=1.0)
        assert time.monotonic() - began < 10.0  # the server would hang for 30
        assert {timing.error for timing in timings} == {"not finished in 1 s"}
        sent = [timing for timing in timings if timing.sent_s is not None]
        assert 5 < len(sent) < 30  # what was due later was not sent
        assert all(timing.scheduled_s <= 1.0 for timing in sent)
        deadline = time.monotonic() + 10.0
        while fake.in_flight and time.monotonic() < deadline:
            time.sleep(0.02)
        assert fake.in_flight == 0
        assert 5 < fake.dropped <= len(sent)


def test_nobody_listens() -> None:
    with _served(Fake()) as endpoint:
        pass
    timings = GENERATOR.run(endpoint, _plan(2, None), concurrency=1)
    assert [timing.error for timing in timings] == ["connection refused"] * 2


def test_it_runs_in_a_thread_too() -> None:
    found: list[RequestTiming] = []
    with _served(Fake(first_s=0.0, token_s=0.0)) as endpoint:
        thread = threading.Thread(
            target=lambda: found.extend(GENERATOR.run(endpoint, _plan(3, 50.0)))
        )
        thread.start()
        thread.join(10)
    assert [timing.ok for timing in found] == [True] * 3


def test_a_whole_search_on_a_real_server() -> None:
    # two slots of 40 ms: 50 requests a second at most
    fake = Fake(slots=2, first_s=0.025, token_s=0.005)
    slo = Slo.parse(["p90(e2e) <= 150 ms"])
    method = MethodChoice(
        requests_per_probe=40, warmup_requests=4, rate_tolerance=0.5, max_lag_ms=200.0
    )
    with _served(fake) as endpoint:
        result = find_rate(
            rate_search(method, WORKLOAD, slo),
            GENERATOR,
            endpoint,
            WORKLOAD,
            slo,
            method,
            on_probe=lambda probe, timings: None,
            check=lambda: None,
            remaining_s=lambda: 60.0,
        )
    assert result.outcome == "pass", result.reason
    assert result.rate_rps is not None
    assert 10.0 < result.rate_rps < 55.0
    assert result.rate_high_rps is not None
    assert result.preliminary
