"""When requests arrive in an open loop: seeded, so that a probe can be repeated exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optikit.spec.workload import Arrivals, Trace

__all__ = ["arrival_times"]

_STREAM = 2
"""Keeps these draws apart from those of the prompts, which may use the same seed."""


def arrival_times(
    kind: Arrivals,
    rate_rps: float,
    count: int,
    seed: int,
    *,
    burstiness: float = 1.0,
    trace: Trace | None = None,
    start: int = 0,
) -> NDArray[np.float64]:
    """Arrival times in seconds after the start of the probe, in order, shape ``(count,)``.

    All kinds bring exactly ``count`` arrivals in ``count / rate_rps`` seconds: a Poisson process,
    given how many arrivals fall into a span, places them there independently and evenly (Ross,
    Introduction to Probability Models, 12th ed., theorem 5.2), and the offered rate is then the
    one asked for instead of one that strays by ``1 / sqrt(count)``.

    ``poisson``: as said. ``gamma``: gaps with shape ``burstiness`` and so a squared coefficient of
    variation of ``1 / burstiness``; 1 is Poisson. ``constant``: equal gaps. ``trace``: the gaps
    between the requests of the trace from row ``start`` on, around its end to its beginning (with
    a mean gap there), all stretched by one factor; ``seed`` has no say in it.

    Raises:
        ValueError: the rate is not above 0, the count is negative, the burstiness is not above 0,
            or the trace is missing.

    >>> arrival_times("constant", 2.0, 3, seed=0).tolist()
    [0.25, 0.75, 1.25]
    """
    if not rate_rps > 0 or count < 0:
        raise ValueError(f"cannot place {count} arrivals at {rate_rps} per second")
    if kind == "constant":
        return (np.arange(count, dtype=np.float64) + 0.5) / rate_rps
    if kind == "trace":
        if trace is None:
            raise ValueError("arrivals of a trace need the trace")
        gaps = _trace_gaps(trace, count + 1, start)
    elif kind == "gamma":
        gaps = _gamma_gaps(burstiness, count + 1, np.random.default_rng((seed, _STREAM)))
    else:
        gaps = np.random.default_rng((seed, _STREAM)).standard_exponential(count + 1)
    times = np.cumsum(gaps)
    span = times[-1] if times[-1] > 0 else 1.0  # a trace may hold a burst at one instant
    # rounding must not carry the last arrival beyond the span
    return np.minimum(times[:count] / span, 1.0) * (count / rate_rps)


def _gamma_gaps(shape: float, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Gaps of a renewal process that has been running for ever when the probe begins.

    What is left of the gap that a probe begins or ends in is an even share of a gap that is longer
    than most: its density is weighted by its length (Cox, Renewal Theory, 1962, ch. 5), and a
    gamma density weighted so has a shape of one more. With shape 1 it is an exponential gap again.
    """
    if not shape > 0:
        raise ValueError(f"gamma arrivals need a burstiness above 0, found {shape}")
    gaps = generator.standard_gamma(shape, size=count)
    ends = generator.random(2) * generator.standard_gamma(shape + 1, size=2)
    gaps[0], gaps[-1] = ends
    return gaps


def _trace_gaps(trace: Trace, count: int, start: int) -> NDArray[np.float64]:
    """Gaps before the requests from ``start`` on, around the end of the trace.

    The gaps at both ends count half: the spans before and behind have the other halves.
    """
    times = trace.columns.arrivals_s
    around = times[-1] + 1.0 / trace.rate_rps  # from the first request to itself
    rows = start - 1 + np.arange(count + 1)
    gaps: NDArray[np.float64] = np.diff(times[rows % len(times)] + rows // len(times) * around)
    gaps[[0, -1]] *= 0.5
    return gaps
