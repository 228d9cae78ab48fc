"""How one simulated server answers: latencies without queueing, saturation, and how the limits are
approached as the load grows.

The answer is a curve, not a number: the tightest bound's distance to its limit at a few loads.
So a correction of the latencies, learnt later, moves the sustainable rate without a simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optikit.core.evidence import excess, gaps_ms, values_ms
from optikit.core.load import plan_load
from optikit.core.saturation import saturation
from optikit.core.simulate import SimulatedServer
from optikit.core.timings import Timings
from optikit.spec.slo import Bound, Goodput, Metric, Slo
from optikit.spec.workload import Trace, Workload

__all__ = ["Answer", "answer", "log_excess"]

_SEED = 20_011
_LONE, _LONE_SPREAD = 4, 48
"""Requests of the loop without queueing: of fixed and of drawn lengths."""
_WAVES, _FEWEST, _MOST = 10, 400, 6000
"""Requests of the saturated loop, in full batches."""
_REQUESTS = (400, 400, 400, 800, 1200, 1200, 1600)
"""Requests at each load that is tried: the nearer the limit, the more."""
_ABOVE = 0.1
"""Where not even a request alone holds: what is looked for is the load at so much more than it."""
_STEEPEST = 0.5
"""What the excess is taken to grow by between the highest load that was tried and saturation."""
_FAR = 1.2
"""log(value / limit) beyond which nobody asks any more: no correction is that large."""


@dataclass(frozen=True)
class Answer:
    """Of one replica; ``excess`` is log(value / limit) of the tightest bound, -inf without one."""

    saturation_rps: float
    lone_excess: float
    loads: NDArray[np.float64]
    """Shares of the saturation throughput, ascending, shape ``(k,)``."""
    excess: NDArray[np.float64]
    """At those loads, never falling, shape ``(k,)``."""
    ttft_ms: float
    """Median without queueing; so are the next two."""
    tpot_ms: float
    e2e_ms: float

    def rate_rps(self, slack: float = 0.0) -> float:
        """The highest rate whose excess is at most ``slack``; 0 where none is."""
        if self.lone_excess > slack:
            return 0.0
        if len(self.loads) == 0:
            return self.saturation_rps
        loads = np.concatenate([[0.0], self.loads, [1.0]])
        heights = np.concatenate([[self.lone_excess], self.excess, [self.excess[-1] + _STEEPEST]])
        return self.saturation_rps * float(np.interp(slack, _rising(heights), loads))


def _rising(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Strictly ascending: of equal heights the last load counts."""
    found: NDArray[np.float64] = np.where(np.isfinite(heights), heights, 1e9)
    return found + 1e-9 * np.arange(len(heights))


def log_excess(timings: Timings, slo: Slo) -> float:
    """log(value / limit) of the tightest bound over the measured requests; -inf without one."""
    part = timings.measured()
    return max((_of(part, bound) for bound in slo.bounds), default=-math.inf)


def _of(part: Timings, bound: Bound | Goodput) -> float:
    if bound.limits[0].metric == "itl":
        gaps, _ = gaps_ms(part)
        scores = np.log(np.maximum(gaps, 1e-9) / bound.limits[0].limit_ms)
    else:
        scores = excess(part, bound).score
        if bound.limits[0].metric == "tpot" and len(bound.limits) == 1:
            scores = scores[~((part.output_tokens == 1) & part.ok)]  # they have no such latency
    scores = np.where(np.isnan(scores), np.inf, scores)
    if len(scores) == 0:
        return -math.inf
    return float(np.quantile(scores, 1 - bound.allowed, method="higher"))


def answer(
    server: SimulatedServer, workload: Workload, slo: Slo, trace: Trace | None = None
) -> Answer:
    """Ask a server; some ten thousand requests, a few milliseconds once numba has compiled.

    All loads use one seed: what differs between two servers is the servers.

    Raises:
        DoesNotFit: a request is longer than the KV cache.
    """
    keep = any(limit.metric == "itl" for bound in slo.bounds for limit in bound.limits)

    def run(rate: float | None, count: int, before: int = 0, clients: int | None = None) -> Timings:
        after = min(before, 200) if rate else 0
        load = plan_load(workload, rate, count, _SEED, before=before, after=after, trace=trace)
        return server.run(load, concurrency=clients, keep_tokens=keep).timings

    kinds = {workload.prompt_tokens.distribution, workload.output_tokens.distribution}
    spread = trace is not None or kinds != {"fixed"}
    lone = run(None, _LONE_SPREAD if spread else _LONE, clients=1)
    ttft, tpot, e2e = (_median(lone, metric) for metric in ("ttft", "tpot", "e2e"))
    lone_excess = log_excess(lone, slo)
    tokens = float(np.mean(lone.prompt_tokens + lone.output_tokens)) - workload.prefix_tokens
    seats = min(server.max_num_seqs, max(1, int(server.kv_tokens / max(tokens, 1.0))))
    count = min(max(_WAVES * seats, _FEWEST), _MOST)
    full = saturation(run(None, count + seats, seats, clients=min(2 * seats, seats + 64)))
    rate = full.rate_rps if full is not None else 1e3 / e2e
    loads: list[float] = []
    heights: list[float] = []
    low, high = 0.0, 1.0
    goal = max(0.0, lone_excess + _ABOVE)
    for requests in _REQUESTS if slo.bounds and lone_excess <= _FAR else ():
        share = (low + high) / 2
        before = int(min(max(3 * share * rate * e2e / 1e3, 60), 4 * seats + 60))
        found = log_excess(run(share * rate, requests + before, before), slo)
        loads.append(share)
        heights.append(found)
        low, high = (low, share) if found > goal else (share, high)
    order = np.argsort(loads)
    return Answer(
        saturation_rps=rate,
        lone_excess=lone_excess,
        loads=np.array(loads)[order],
        excess=np.maximum.accumulate(np.maximum(np.array(heights)[order], lone_excess)),
        ttft_ms=ttft,
        tpot_ms=tpot,
        e2e_ms=e2e,
    )


def _median(timings: Timings, metric: Metric) -> float:
    found = values_ms(timings, metric)
    known = found[np.isfinite(found)]
    return float(np.median(known)) if len(known) else 0.0
