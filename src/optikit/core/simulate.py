"""A server that is not there: continuous batching in virtual time, for planning and for proofs.

The one importer of numba, which compiles ``core/_batching.py`` (docs/decisions/0008).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optikit.core import _batching
from optikit.core.load import Load
from optikit.core.steptimes import StepTimes
from optikit.core.timings import Timings
from optikit.errors import DoesNotFit

__all__ = ["SimulatedRun", "SimulatedServer"]

_DRAWS = 8192
_STREAM = 4


@functools.cache
def _compiled() -> Callable[..., None]:
    try:
        from numba import njit
    except ImportError:  # the same figures, slowly
        return _batching.run
    compiled: Callable[..., None] = njit(cache=True, nogil=True)(_batching.run)
    return compiled


@dataclass(frozen=True)
class SimulatedRun:
    """Timings in virtual time and what the scheduler did."""

    timings: Timings
    steps: int
    preemptions: int
    held_tokens: int
    """KV tokens still held at the end: 0 once every request has ended."""
    most_held_tokens: int
    open_requests: int
    """Running or waiting at the end."""
    mean_running: float


@dataclass(frozen=True)
class SimulatedServer:
    """One replica with its scheduler's limits.

    Args:
        kv_tokens: tokens that the KV cache holds, any shared prefix included.
        noise: standard deviation of a step's time over its mean.
    """

    times: StepTimes
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: int
    noise: float = 0.03

    def run(
        self,
        load: Load,
        *,
        concurrency: int | None = None,
        timeout_s: float = float("inf"),
        seed: int = 0,
        keep_tokens: bool = False,
    ) -> SimulatedRun:
        """Serve one load, beginning with an empty server; the shared prefix is resident.

        Measured requests that did not end within ``timeout_s`` have NaN for what did not come.

        Raises:
            DoesNotFit: a request is longer than the KV cache.
        """
        n = len(load)
        prefix = load.workload.prefix_tokens
        room = self.kv_tokens - prefix
        longest = int(np.max(load.prompt_tokens + load.output_tokens, initial=0)) - prefix
        if longest > room:
            raise DoesNotFit(
                f"a request of {longest + prefix} tokens does not fit a KV cache of "
                f"{self.kv_tokens} tokens; shorten the workload or use more devices"
            )
        at_s = load.at_s.copy()
        offsets = np.zeros(0, dtype=np.int64)
        tokens = np.zeros(0)
        if keep_tokens:
            offsets = np.concatenate([[0], np.cumsum(load.output_tokens)]).astype(np.int64)
            tokens = np.full(int(offsets[-1]), np.nan)
        first_s, end_s = np.full(n, np.nan), np.full(n, np.nan)
        facts = np.zeros(6, dtype=np.int64)
        draws = np.zeros(1)
        if self.noise > 0:
            draws = np.random.default_rng((seed, load.seed, _STREAM)).standard_normal(_DRAWS)
        _compiled()(
            at_s,
            load.prompt_tokens,
            load.output_tokens,
            load.first,
            load.last,
            concurrency or 0,
            self.max_num_seqs,
            self.max_num_batched_tokens,
            room,
            prefix,
            self.times.linear_s,
            self.times.kv_s,
            self.times.attention_s,
            self.times.step_s,
            self.times.seq_s,
            self.noise,
            draws,
            float(timeout_s),
            offsets,
            tokens,
            first_s,
            end_s,
            facts,
        )
        ended = np.isfinite(end_s)
        timings = Timings(
            scheduled_s=at_s,
            sent_s=np.where(at_s <= _ended(end_s, load, timeout_s), at_s, np.nan),
            first_token_s=first_s,
            end_s=end_s,
            prompt_tokens=np.where(ended, load.prompt_tokens, 0),
            output_tokens=np.where(ended, load.output_tokens, 0),
            first=load.first,
            last=load.last,
            token_s=tokens if keep_tokens else None,
            token_offsets=offsets if keep_tokens else None,
        )
        steps, preemptions, held, most, still_open, occupied = (int(fact) for fact in facts)
        return SimulatedRun(
            timings, steps, preemptions, held, most, still_open, occupied / max(steps, 1)
        )


def _ended(end_s: NDArray[np.float64], load: Load, timeout_s: float) -> float:
    """When the run was over: at the last measured end, or at the deadline."""
    measured = end_s[load.first : load.last]
    if len(measured) and np.isfinite(measured).all():
        return float(measured.max())
    return timeout_s
