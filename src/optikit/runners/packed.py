"""Our own loop: whatever fits starts, on the stage's pool, without waiting for a round to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any

from optikit.core.packing import Held, Packing, Wish, usage_of
from optikit.errors import BudgetExceeded, OptikitError
from optikit.pools.base import Pool
from optikit.runners.base import LAST_WORDS_S, Launch, Search, held_of
from optikit.spec.record import Usage

__all__ = ["RUNNER"]

_LONGEST_WAIT_S = 3600.0


class _Loop:
    def __init__(self, search: Search, pool: Pool, devices: int | Mapping[str, int]) -> None:
        self._search = search
        self._pool = pool
        by_node = devices if isinstance(devices, Mapping) else {"": devices}
        self._nodes = tuple(by_node)
        self._devices = sum(by_node.values())
        self._packing = Packing(tuple(by_node.values()))
        # a pool that answers at once runs one task at a time; until one is seen that does not,
        # nothing is asked ahead, because a sampler does better with every result before
        self._inline = True
        self._waiting: dict[str, Launch] = {}
        self._running: dict[Future[Any], tuple[Launch, float]] = {}
        self._held: list[Held] = []
        self._began = time.monotonic()

    def run(self, left_s: Callable[[], float]) -> Usage:
        whole = False
        try:
            while True:
                self._fill()
                if not self._running:
                    break
                self._wait(min(left_s(), _LONGEST_WAIT_S))
            whole = True
        except BudgetExceeded:
            # the trials know it as well: they answer with what they have
            until = time.monotonic() + LAST_WORDS_S
            while self._running and time.monotonic() < until:
                self._wait(until - time.monotonic())
            raise
        finally:
            if not whole:
                self._hear_the_last()
        return usage_of(self._devices, self._held, self._began, time.monotonic())

    def _fill(self) -> None:
        """Ask and start until nothing more fits, or nothing more is to be had."""
        more = True
        while more:
            while self._wants():
                launch = self._search.next(self._packing.idle)
                if launch is None:
                    break
                self._waiting[launch.trial_id] = launch
                self._packing.offer(Wish(launch.trial_id, launch.devices, launch.expected_s))
            placed = self._packing.next(time.monotonic())
            more = placed is not None
            if placed is not None:
                self._start(self._waiting.pop(placed.key), placed.node)

    def _wants(self) -> bool:
        return (
            not self._search.finished
            and self._packing.wants
            and not (self._inline and self._waiting)
        )

    def _start(self, launch: Launch, node: int) -> None:
        resources = launch.resources
        if name := self._nodes[node]:
            resources = resources.model_copy(update={"node": name})
        self._search.start(launch)
        began = time.monotonic()
        future = self._pool.submit(launch.task, *launch.args, resources=resources)
        self._running[future] = (launch, began)
        if future.done():
            self._settle(future)
        else:
            self._inline = False

    def _wait(self, timeout_s: float) -> None:
        done, _ = wait(self._running, timeout=max(0.0, timeout_s), return_when=FIRST_COMPLETED)
        for future in done:
            self._settle(future)

    def _settle(self, future: Future[Any]) -> None:
        launch, began = self._running.pop(future)
        now = time.monotonic()
        self._packing.end(launch.trial_id, now)
        error = future.exception()
        if error is not None and not isinstance(error, OptikitError):
            raise error
        answer = future.result() if error is None else error
        self._held.append(held_of(launch, answer, began, now))
        self._search.done(launch, answer, now - began)

    def _hear_the_last(self) -> None:
        for future in [f for f in self._running if f.done()]:
            with suppress(OptikitError):  # the run ends for a reason already
                self._settle(future)


class Packed:
    """See ``core/packing.py`` for what starts when."""

    name = "packed"
    pool = None

    def run(
        self,
        search: Search,
        pool: Pool,
        devices: int | Mapping[str, int],
        left_s: Callable[[], float],
    ) -> Usage:
        """Run the search on the pool.

        Raises:
            OptikitError: what the search or the budget raised.
            DoesNotFit: a trial is larger than every node.
        """
        return _Loop(search, pool, devices).run(left_s)


RUNNER = Packed()
