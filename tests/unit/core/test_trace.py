"""What is said of a trace before a rate is measured with it."""

from __future__ import annotations

import numpy as np

from optikit.core.trace import trace_warnings
from optikit.spec.workload import Trace


def trace(arrivals: list[float]) -> Trace:
    sizes = (5,) * len(arrivals)
    return Trace(
        source="t.csv", arrivals_s=tuple(arrivals), prompt_tokens=sizes, output_tokens=sizes
    )


def poisson(count: int, seed: int = 1) -> list[float]:
    gaps = np.random.default_rng(seed).exponential(size=count - 1)
    return [0.0, *np.cumsum(gaps).tolist()]


def test_an_ordinary_trace_needs_no_words() -> None:
    for seed in range(20):
        assert trace_warnings(trace(poisson(1_000, seed)), needed=300) == []
        assert trace_warnings(trace(poisson(110, seed))) == []
        assert trace_warnings(trace(poisson(12, seed))) == []


def test_a_night_is_named_with_its_place() -> None:
    day = poisson(500)
    [said] = trace_warnings(trace([*day, *(at + day[-1] + 3_600 for at in day)]))
    assert "1 gap(s) without arrivals" in said
    assert "3600 s after request 500" in said


def test_a_coarse_clock_is_named() -> None:
    [said] = trace_warnings(trace([float(at // 10) for at in range(1_000)]))
    assert "900 of 1000 requests have the timestamp of the one before" in said


def test_a_trace_shorter_than_a_probe_is_named() -> None:
    [said] = trace_warnings(trace(poisson(100)), needed=250)
    assert "100 requests, but a probe needs 250; it goes around its end 2.5 times" in said
