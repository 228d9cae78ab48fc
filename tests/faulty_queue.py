"""A queue in virtual time whose requests may fail, whose server may slow down, and which counts."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from optikit.core.load import Load
from optikit.core.timings import Timings
from optikit.loadgen.base import Watch
from optikit.spec.endpoint import Endpoint

Fault = Callable[[int, int, float], str | None]
"""Run, index and arrival of a request -> its error."""


@dataclass
class FaultyQueue:
    """First come, first served: ``slots`` requests at a time, ``service_s`` each."""

    slots: int = 4
    service_s: float = 0.5
    open_service_s: float | None = None
    """Service time from the third run on, where it differs."""
    fault: Fault = lambda run, index, at: None
    name: str = "queue"
    now_s: float = 100.0
    runs: list[tuple[int | None, float]] = field(default_factory=list)
    kept_tokens: list[bool] = field(default_factory=list)
    watched: int = 0

    def clock(self) -> float:
        return self.now_s

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
        self.runs.append((concurrency, timeout_s))
        self.kept_tokens.append(keep_tokens)
        if len(self.runs) > 2 and self.open_service_s is not None:
            self.service_s = self.open_service_s
        n = len(load)
        free, clients = [0.0] * self.slots, [0.0] * (concurrency or 0)
        sent, first, end = load.at_s.copy(), np.full(n, np.nan), np.full(n, np.nan)
        errors: dict[int, str] = {}
        for index in range(n):
            at = heapq.heappop(clients) if concurrency else float(load.at_s[index])
            error = self.fault(len(self.runs), index, at)
            done = at
            if error is None:
                begin = max(at, heapq.heappop(free))
                done = begin + self.service_s
                heapq.heappush(free, done)
                first[index], end[index] = begin + 0.1, done
                if done > timeout_s:
                    error = f"not finished in {timeout_s:.0f} s"
            if error is not None and load.first <= index < load.last:
                errors[index] = error
            sent[index] = at
            if concurrency:
                heapq.heappush(clients, done)
        found = Timings(
            sent, sent, first, end, load.prompt_tokens, load.output_tokens, load.first, load.last
        )
        ends = np.sort(end[load.first : load.last])
        ends = ends[ends <= timeout_s]
        if watch is not None:
            for at in ends[watch_every - 1 :: watch_every]:
                self.watched += 1
                if watch(found.until(at)):
                    self.now_s += float(at)
                    return found.until(at)
        late = bool(errors) and any(text.startswith("not finished") for text in errors.values())
        self.now_s += timeout_s if late else float(ends[-1]) if len(ends) else 0.1
        return replace(found.until(timeout_s), errors=errors)
