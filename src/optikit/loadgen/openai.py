"""A small load generator for the OpenAI APIs: exact lengths, honest times, little CPU.

What is counted. ``sent_s`` is taken just before a request is written. No connection is opened in
advance: one that is kept alive is used again, else the handshake is part of the latency, as it is
for a user. ``first_token_s`` is the first event with a token in it (see ``_answer.py``),
``end_s`` the last event before ``[DONE]``. Where an event carries several tokens they share its
arrival, so that inter-token gaps are gaps between deliveries; nothing is spread. All of it happens
on one event loop: a loop that is late shows in ``sent_s - scheduled_s``. Nothing is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator

from optikit.adapters.http import HttpError, load_session, post_events
from optikit.core.load import Load
from optikit.core.timings import Timings
from optikit.loadgen._answer import Answer
from optikit.loadgen._bodies import Bodies, headers, url
from optikit.loadgen._record import Record
from optikit.loadgen.base import Watch
from optikit.spec.endpoint import Endpoint

__all__ = ["GENERATOR", "OpenAIGenerator"]


class OpenAIGenerator:
    """Streams completions or chat; see :class:`optikit.loadgen.base.LoadGenerator`."""

    name = "openai"

    def __init__(self) -> None:
        self._bodies = Bodies()

    def clock(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def run(
        self,
        endpoint: Endpoint,
        load: Load,
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
        watch: Watch | None = None,
        watch_every: int = 32,
        keep_tokens: bool = False,
    ) -> Timings:
        """Send the load; call it from a thread that runs no event loop.

        ``watch`` runs on the loop that sends and receives: what it takes is client lag.

        Raises:
            BadInput: prompts of the asked lengths cannot be made for this endpoint.
        """
        record = Record(load, keep_tokens, closed=concurrency is not None)
        run = _Run(endpoint, load, record, watch, watch_every)
        asyncio.run(run.whole(self._bodies, concurrency, timeout_s))
        return record.timings()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """A garbage collection in the middle of a probe would be measured as latency."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class _Run:
    """One run: what its requests share."""

    def __init__(
        self,
        endpoint: Endpoint,
        load: Load,
        record: Record,
        watch: Watch | None,
        watch_every: int,
    ) -> None:
        self._endpoint = endpoint
        self._load = load
        self._record = record
        self._watch = watch
        self._watch_every = max(watch_every, 1)
        self._url = url(endpoint)
        self._headers = headers(endpoint)
        self._prompt_tokens: list[int] = load.prompt_tokens.tolist()
        self._output_tokens: list[int] = load.output_tokens.tolist()
        self._ended = 0
        self._left = load.measured

    async def whole(self, bodies: Bodies, concurrency: int | None, timeout_s: float) -> None:
        """Make the requests, send them, and write down what was not answered in time."""
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._over: asyncio.Future[None] = loop.create_future()
        late = f"not finished in {timeout_s:.3g} s"
        begun = self._clock()
        try:
            self._bodies = await bodies.of(self._endpoint, self._load, timeout_s)
        except HttpError as error:
            self._record.fail_open(f"{error} (asked to count prompt tokens)")
            return
        except TimeoutError:
            self._record.fail_open(f"{late}: the server does not count prompt tokens")
            return
        if not self._left:
            return
        with _no_collection():
            async with load_session() as self._session:
                begun, used = self._clock(), self._clock() - begun
                self._record.start = begun
                work = self._open_loop() if concurrency is None else self._closed_loop(concurrency)
                in_time = await self._until_over(work, timeout_s - used)
        if not in_time:
            self._record.fail_open(late)

    async def _until_over(self, work: object, timeout_s: float) -> bool:
        """Run ``work`` until nothing of it matters any more; False: the time is up."""
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.create_task(work)
        try:
            done, _ = await asyncio.wait(
                {task, self._over}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            while isinstance(error, BaseExceptionGroup):  # what ``watch`` raised, or a fault here
                error = error.exceptions[0]
            raise error
        return bool(done)

    async def _open_loop(self) -> None:
        async with asyncio.TaskGroup() as group:
            for index, at_s in enumerate(self._load.at_s.tolist()):
                delay = at_s - (self._clock() - self._record.start)
                if delay > 0:
                    await asyncio.sleep(delay)
                group.create_task(self._send(index))

    async def _closed_loop(self, concurrency: int) -> None:
        indices = iter(range(len(self._load)))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(self._load))):
                group.create_task(self._work(indices))

    async def _work(self, indices: Iterator[int]) -> None:
        for index in indices:
            self._record.schedule(index, self._clock())
            await self._send(index)

    async def _send(self, index: int) -> None:
        """One request; whatever goes wrong with it is written down."""
        record = self._record
        answer = Answer(self._output_tokens[index], keep=record.keep_tokens)
        error = None
        record.begin(index, answer, self._clock())
        try:
            await post_events(
                self._session, self._url, self._bodies[index], self._headers, answer.take
            )
            answer.close()
            answer.check(self._prompt_tokens[index], shorter=not self._endpoint.enforce_length)
        except HttpError as fault:
            error = str(fault).replace(self._endpoint.api_key or "\0", "***")  # some repeat it
        record.end(index, error)
        self._look(index)

    def _look(self, index: int) -> None:
        """After a request has ended: is the run over?"""
        self._ended += 1
        if self._load.first <= index < self._load.last:
            self._left -= 1
        over = self._left == 0
        if not over and self._watch is not None and self._ended % self._watch_every == 0:
            over = self._watch(self._record.timings())
        if over and not self._over.done():
            self._over.set_result(None)


GENERATOR = OpenAIGenerator()
