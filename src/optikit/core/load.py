"""The requests of one probe: when, how long, and (only when somebody sends them) which tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optikit.core.arrivals import arrival_times
from optikit.core.lengths import lengths, trace_lengths
from optikit.core.prompts import prompts
from optikit.spec.workload import Trace, Workload

__all__ = ["Load", "plan_load"]

_STREAM, _FIRST_ROW = 3, 3


@dataclass(frozen=True)
class Load:
    """Requests in order of arrival; all vectors have shape ``(n,)``.

    Only requests ``first <= i < last`` are measured. Those before fill the server up, those after
    keep the load on it until the measured ones have ended, so that neither the empty server at the
    beginning nor the drain at the end is part of the figure.
    """

    workload: Workload
    seed: int
    at_s: NDArray[np.float64]
    """Seconds after the start of the probe; all 0 in a closed loop."""
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    first: int
    last: int

    def __len__(self) -> int:
        return len(self.at_s)

    @property
    def measured(self) -> int:
        """Number of measured requests."""
        return self.last - self.first

    def prompts(self, vocab: int) -> list[tuple[int, ...]]:
        """Token ids of every request; see :func:`optikit.core.prompts.prompts`."""
        return prompts(self.workload, self.prompt_tokens, vocab, self.seed)


def plan_load(
    workload: Workload,
    rate_rps: float | None,
    count: int,
    seed: int,
    *,
    before: int = 0,
    after: int = 0,
    trace: Trace | None = None,
) -> Load:
    """The load of one probe.

    The measured span and what lies around it are drawn apart, so that each has the offered rate;
    of a trace they are rows in a row, each span stretched by itself. Lengths do not depend on the
    rate: a closed and an open loop with one seed send the same requests.

    Args:
        rate_rps: offered rate of an open loop; None for a closed loop.
        count: measured requests.
        seed: of this probe's arrivals, lengths and prompts; another probe takes another one.
        before: further requests in front of the measured ones.
        after: further requests behind them.
        trace: what the file that the workload names holds.

    Raises:
        ValueError: the workload names a trace and none is given, or the other way round; or a
            number of requests is below 0.
    """
    sizes = (before, count, after)
    if min(sizes) < 0:
        raise ValueError(f"cannot plan {before} + {count} + {after} requests")
    if (workload.trace is None) != (trace is None):
        raise ValueError(f"the workload names the trace {workload.trace!r}; give its rows with it")
    row = _first_row(trace, seed) - before if trace is not None else 0
    offset, times, prompt, output = 0.0, [], [], []
    for number, size in enumerate(sizes):
        part = _part(workload, rate_rps, size, (seed, _STREAM, number), trace, row)
        times.append(offset + part[0])
        prompt.append(part[1])
        output.append(part[2])
        offset += size / rate_rps if rate_rps else 0.0
        row += size
    return Load(
        workload=workload,
        seed=seed,
        at_s=np.concatenate(times),
        prompt_tokens=np.concatenate(prompt),
        output_tokens=np.concatenate(output),
        first=before,
        last=before + count,
    )


def _first_row(trace: Trace, seed: int) -> int:
    """Where the measured span begins in the trace: another place for each probe."""
    generator = np.random.default_rng((seed, _STREAM, _FIRST_ROW))
    return int(generator.integers(len(trace.arrivals_s)))


_Columns = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def _part(
    workload: Workload,
    rate_rps: float | None,
    count: int,
    seed: tuple[int, ...],
    trace: Trace | None,
    row: int,
) -> _Columns:
    """Arrivals from 0 on, prompt and output lengths of one span, each of shape ``(count,)``."""
    if count == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return np.zeros(0), nothing, nothing
    own = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    at_s = np.zeros(count)
    if rate_rps is not None:
        at_s = arrival_times(
            workload.arrivals,
            rate_rps,
            count,
            own,
            burstiness=workload.burstiness,
            trace=trace,
            start=row,
        )
    if trace is not None:
        return at_s, *trace_lengths(trace, count, row)
    generator = np.random.default_rng((own, _STREAM))
    prompt = lengths(workload.prompt_tokens, count, generator)
    return at_s, prompt, lengths(workload.output_tokens, count, generator)
