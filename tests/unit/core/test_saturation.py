"""Throughput of a closed loop against queues whose capacity is known."""

from __future__ import annotations

import numpy as np
import pytest

from optikit.core.load import plan_load
from optikit.core.saturation import saturation
from tests.unit.core.queue_case import WORKLOAD, Queue
from tests.unit.core.timing_case import NAN, timings


@pytest.mark.parametrize(("slots", "concurrency"), [(4, 4), (4, 8), (10, 40)])
def test_the_capacity_of_a_queue_that_is_full(slots: int, concurrency: int) -> None:
    load = plan_load(WORKLOAD, None, 3 * concurrency + 12, 1, before=concurrency)
    found = saturation(Queue(slots).run(load, concurrency))
    assert found is not None
    assert found.rate_rps == pytest.approx(slots / 0.5, rel=0.08)
    assert found.in_flight == pytest.approx(concurrency, rel=0.1)


def test_completions_in_waves_are_evened_out() -> None:
    ends = np.repeat(np.arange(1.0, 7.0), 8)  # eight every second, all at once
    found = saturation(timings(ends - 1.0, 1.0))
    assert found is not None
    assert found.rate_rps == pytest.approx(8.0)
    assert found.error == 0.01  # never less


def test_the_error_is_of_the_size_of_what_repetitions_show() -> None:
    # for completions at random times it is half of it: the smaller of two answers is taken
    rng = np.random.default_rng(4)
    rates, errors = [], []
    for _ in range(300):
        ends = np.cumsum(rng.exponential(0.1, 240))
        found = saturation(timings(ends - 0.05, 0.05))
        assert found is not None
        rates.append(np.log(found.rate_rps))
        errors.append(found.error)
    assert np.mean(rates) == pytest.approx(np.log(10), abs=0.03)
    assert 0.4 < np.sqrt(np.mean(np.square(errors))) / np.std(rates) < 1.4


def test_only_measured_completions_count_and_twelve_are_needed() -> None:
    at = np.arange(20.0)
    assert saturation(timings(at[:11])) is None
    assert saturation(timings(at[:12])) is not None
    assert saturation(timings(at, first=9)) is None
    assert saturation(timings(at, [1.0] * 11 + [NAN] * 9)) is None
    failed = timings(at, errors=dict.fromkeys(range(0, 20, 2), "HTTP 500"))
    assert saturation(failed) is None


def test_all_at_one_instant_is_no_rate() -> None:
    assert saturation(timings(np.zeros(24))) is None
