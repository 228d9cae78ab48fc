"""When requests arrive in an open loop: seeded, so that a probe can be repeated exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optikit.spec.workload import Arrivals

__all__ = ["arrival_times"]

_STREAM = 2
"""Keeps these draws apart from those of the prompts, which may use the same seed."""


def arrival_times(kind: Arrivals, rate_rps: float, count: int, seed: int) -> NDArray[np.float64]:
    """Arrival times in seconds after the start of the probe, in order, shape ``(count,)``.

    ``poisson``: independent exponential gaps of mean ``1 / rate_rps``, the first arrival after
    one gap. ``constant``: equal gaps, the first arrival at 0.

    Raises:
        ValueError: the rate is not above 0, or the count is negative.

    >>> arrival_times("constant", 2.0, 3, seed=0).tolist()
    [0.0, 0.5, 1.0]
    """
    if not rate_rps > 0 or count < 0:
        raise ValueError(f"cannot place {count} arrivals at {rate_rps} per second")
    if kind == "constant":
        return np.arange(count, dtype=np.float64) / rate_rps
    generator = np.random.default_rng((seed, _STREAM))
    return np.cumsum(generator.exponential(1.0 / rate_rps, size=count))
