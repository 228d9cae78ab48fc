"""The share adjusted for the arrivals: nearer to the truth than the share that was seen."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logit

from optikit.core.evidence import excess
from optikit.core.load import plan_load
from optikit.core.loadmodel import LoadModel, Seen, Share, fit_load_model
from optikit.core.simulate import SimulatedServer
from optikit.core.steptimes import StepTimes
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload

WORKLOAD = Workload.parse({"prompt_tokens": 200, "output_tokens": 40})
BOUND = Slo.parse(["p95(e2e) <= 650 ms"]).bounds[0]
LINEAR = np.maximum(5e-3, 4e-5 * np.arange(2049))
SERVER = SimulatedServer(StepTimes(LINEAR, 1e-7, 1e-8, 2e-3, 5e-5, "test"), 64, 2048, 100_000)
RATE = 52.0
"""Near the rate at which 5 % are over the limit."""
UNIT_S = 0.5
SEEDS = 30


@cache
def probe(seed: int, rate: float = RATE, count: int = 600) -> Seen:
    load = plan_load(WORKLOAD, rate, count, seed, before=60, after=100)
    timings = SERVER.run(load, seed=seed).timings
    return Seen(load, excess(timings.measured(), BOUND), rate)


@cache
def models() -> tuple[LoadModel, ...]:
    """One fit to one probe, for each of many seeds."""
    return tuple(fit_load_model([probe(seed)], WORKLOAD, UNIT_S) for seed in range(SEEDS))


def shares(rate: float = RATE) -> NDArray[np.float64]:
    return np.array([model.share(rate).value for model in models()])


def truth(rate: float = RATE) -> float:
    return float(probe(999, rate, 60_000).excess.over.mean())


def test_the_case_is_near_its_limit() -> None:
    assert 0.02 < truth() < 0.12


def test_the_adjusted_share_strays_half_as_far_as_the_raw_one() -> None:
    raw = np.array([probe(seed).excess.over.mean() for seed in range(SEEDS)])
    assert shares().std() < 0.5 * raw.std()


def test_it_agrees_with_a_long_run() -> None:
    assert np.mean(logit(shares())) == pytest.approx(logit(truth()), abs=0.2)


def test_its_error_is_of_the_size_of_the_scatter() -> None:
    errors = np.array([model.share(RATE).error for model in models()])
    assert 0.5 < np.sqrt(np.mean(errors**2)) / logit(shares()).std() < 3.0


def test_the_rate_is_nearer_than_by_the_raw_share() -> None:
    """Two probes on both sides of the rate give it within a few percent."""
    found = []
    for seed in range(8):
        seen = [probe(100 + seed, 0.95 * RATE), probe(200 + seed, 1.05 * RATE)]
        crossing = fit_load_model(seen, WORKLOAD, UNIT_S).root(0.05, 0.5 * RATE, 2 * RATE)
        assert crossing is not None
        found.append(crossing[0])
    assert np.std(np.log(found)) < 0.03
    assert truth(float(np.mean(found))) == pytest.approx(0.05, rel=0.35)


def test_the_root_undoes_the_share() -> None:
    model = models()[0]
    for share in (0.02, 0.05, 0.2):
        crossing = model.root(share, 0.4 * RATE, 2.5 * RATE)
        assert crossing is not None
        rate, slope = crossing
        assert model.share(rate).value == pytest.approx(share, rel=0.01)
        there = (logit(model.share(rate * 1.03).value) - logit(model.share(rate / 1.03).value)) / (
            2 * np.log(1.03)
        )
        assert slope == pytest.approx(there, rel=0.35)


def test_no_root_where_the_share_is_not_crossed() -> None:
    model = models()[0]
    assert model.root(0.05, 1.5 * RATE, 2.0 * RATE) is None
    assert model.root(0.05, 0.3 * RATE, 0.5 * RATE) is None


def test_the_share_grows_with_the_rate() -> None:
    model = models()[1]
    found = [model.share(rate).value for rate in RATE * np.array([0.8, 0.9, 1.0, 1.1, 1.2])]
    assert found == sorted(found)
    between = model.share(RATE * 1.015).value
    assert model.share(RATE).value < between < model.share(RATE * 1.03).value


def test_bounds_lie_on_both_sides() -> None:
    share = Share(0.05, 0.3)
    low, high = share.bounds(2.0)
    assert 0 < low < 0.05 < high < 1
    assert logit(high) - logit(0.05) == pytest.approx(0.6)
    wider = share.bounds(3.0)
    assert wider[0] < low
    assert wider[1] > high


def test_lengths_that_differ_enter_the_fit() -> None:
    workload = Workload.parse(
        {
            "prompt_tokens": 200,
            "output_tokens": {"distribution": "uniform", "low": 10, "high": 70},
        }
    )
    seen = []
    for seed in (1, 2):
        load = plan_load(workload, RATE, 600, seed, before=60, after=100)
        timings = SERVER.run(load, seed=seed).timings
        seen.append(Seen(load, excess(timings.measured(), BOUND), RATE))
    raw = np.mean([s.excess.over.mean() for s in seen])
    adjusted = fit_load_model(seen, workload, UNIT_S).share(RATE)
    assert adjusted.value == pytest.approx(raw, rel=0.4)
    assert np.isfinite(adjusted.error)
