"""Continuous batching once more, one step after the other and in plain lists: a reference.

The rules are those of ``core/_batching.py``; nothing is skipped, summed in closed form or shared
with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optikit.core.load import Load
from optikit.core.simulate import SimulatedServer

__all__ = ["Served", "serve"]


@dataclass
class Request:
    index: int
    own: int
    """Prompt tokens beside the shared prefix."""
    output: int
    target: int = 0
    """Tokens to compute before the next one comes out."""
    computed: int = 0
    tokens: list[float] = field(default_factory=list)


@dataclass
class Served:
    at_s: NDArray[np.float64]
    first_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    tokens: list[list[float]]
    steps: int = 0
    preemptions: int = 0
    most_held: int = 0
    held: int = 0
    occupied: int = 0
    open: int = 0


def serve(server: SimulatedServer, load: Load, concurrency: int | None) -> Served:
    """Serve until the measured requests have ended; the server must be free of noise."""
    assert server.noise == 0
    times, n = server.times, len(load)
    prefix = load.workload.prefix_tokens
    room = server.kv_tokens - prefix
    requests = [
        Request(i, max(int(load.prompt_tokens[i]) - prefix, 1), int(load.output_tokens[i]))
        for i in range(n)
    ]
    for request in requests:
        request.target = request.own
    at = load.at_s.copy()
    found = Served(at, np.full(n, np.nan), np.full(n, np.nan), [r.tokens for r in requests])
    future = list(range(n))
    waiting: list[Request] = []
    running: list[Request] = []
    open_measured = load.last - load.first
    now = 0.0
    if concurrency:
        waiting = [requests[i] for i in future[:concurrency]]
        del future[:concurrency]

    def held() -> int:
        return sum(r.computed for r in running)

    while open_measured:
        while not concurrency and future and at[future[0]] <= now:
            waiting.append(requests[future.pop(0)])
        if not running and not waiting:
            if not future:
                break
            now = float(at[future[0]])
            continue
        step: list[tuple[Request, int, bool]] = []  # request, tokens, whether it decodes
        budget, preempted = server.max_num_batched_tokens, False
        for request in running:  # who is preempted meanwhile is always one behind
            if budget == 0:
                break
            decodes = request.computed == request.target
            chunk = 1 if decodes else min(request.target - request.computed, budget)
            while held() + chunk > room and request in running:
                _preempt(running, waiting)
                found.preemptions += 1
                preempted = True
            if request not in running:
                break
            step.append((request, chunk, decodes))
            _compute(request, chunk, decodes)
            budget -= chunk
        if not preempted and len(step) == len(running):
            while waiting and len(running) < server.max_num_seqs and budget:
                request = waiting[0]
                chunk = min(request.target, budget)
                if held() + chunk > room:
                    break
                running.append(waiting.pop(0))
                step.append((request, chunk, False))
                _compute(request, chunk, False)
                budget -= chunk
        assert step, "nobody can go on"
        now += _step_s(times, step, prefix)
        found.steps += 1
        found.occupied += len(step)
        found.most_held = max(found.most_held, held())
        for request, _, _ in step:
            if request.computed < request.target:
                continue
            request.tokens.append(now)
            if len(request.tokens) == 1:
                found.first_s[request.index] = now
            if len(request.tokens) == request.output:
                found.end_s[request.index] = now
                running.remove(request)
                open_measured -= load.first <= request.index < load.last
                if concurrency and future:
                    at[future[0]] = now
                    waiting.append(requests[future.pop(0)])
    found.held = held()
    found.open = len(running) + len(waiting)
    if not concurrency:
        found.open += sum(at[i] <= now for i in future)
    return found


def _preempt(running: list[Request], waiting: list[Request]) -> None:
    """The last of the running goes to the front of the queue and begins anew."""
    victim = running.pop()
    victim.computed = 0
    victim.target = victim.own + len(victim.tokens)
    waiting.insert(0, victim)


def _compute(request: Request, chunk: int, decodes: bool) -> None:
    request.computed += chunk
    if decodes:
        request.target += 1


def _step_s(times: Any, step: list[tuple[Request, int, bool]], prefix: int) -> float:
    """Time of a step whose chunks are already counted as computed."""
    tokens = sum(chunk for _, chunk, _ in step)
    took = float(times.linear_s[tokens]) + times.step_s + times.seq_s * len(step)
    for request, chunk, decodes in step:
        before = request.computed - chunk + prefix
        if decodes:
            took += times.kv_s * before
        else:
            took += times.attention_s * chunk * (before + chunk / 2)
    return float(took)
