"""Methods by name, seeds, and what no search takes."""

from __future__ import annotations

import pytest

from optikit.core.adjusted import AdjustedSearch
from optikit.core.doubling import DoublingSearch
from optikit.core.rate import METHODS, probe_seed, rate_search, verification
from optikit.errors import BadInput, UnknownName
from optikit.spec.job import MethodChoice
from optikit.spec.slo import Slo
from optikit.spec.workload import Length, Workload

WORKLOAD = Workload()
METHOD = MethodChoice()


def test_by_name() -> None:
    assert set(METHODS) == {"adjusted", "doubling"}
    assert isinstance(rate_search(METHOD, WORKLOAD, Slo()), AdjustedSearch)
    doubling = MethodChoice(name="doubling")
    assert isinstance(rate_search(doubling, WORKLOAD, Slo()), DoublingSearch)
    with pytest.raises(UnknownName, match="did you mean 'doubling'"):
        rate_search(MethodChoice(name="dubling"), WORKLOAD, Slo())


def test_seeds_are_fresh_and_repeatable() -> None:
    seeds = [probe_seed(base, number) for base in range(20) for number in range(1, 20)]
    assert len(set(seeds)) == len(seeds)
    assert probe_seed(3, 4) == probe_seed(3, 4)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_seed_given_takes_the_place_of_the_workloads(name: str) -> None:
    method = MethodChoice(name=name)
    workload = Workload(seed=3)
    for seed, expected in ((None, 3), (7, 7), (0, 0)):
        first = rate_search(method, workload, Slo(), seed=seed).ask()
        assert first is not None
        assert first.seed == probe_seed(expected, 1)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_refuses_what_cannot_be_measured(name: str) -> None:
    method = MethodChoice(name=name)
    one = Workload(output_tokens=Length.parse(1))
    for bound in ("p50(tpot) <= 10 ms", "p99(itl) <= 10 ms"):
        with pytest.raises(BadInput, match="output_tokens: 1"):
            rate_search(method, one, Slo.parse([bound]))
    for rate in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(BadInput, match="above 0"):
            rate_search(method, WORKLOAD, Slo(), start_rps=rate)


def test_a_verification_takes_a_rate_and_a_seed_of_its_own() -> None:
    search = verification(METHOD, WORKLOAD, Slo(), 3.0, seed=12)
    first = search.ask()
    assert first is not None
    assert (first.phase, first.seed) == ("warmup", probe_seed(12, 1))
    with pytest.raises(BadInput, match="above 0"):
        verification(METHOD, WORKLOAD, Slo(), 0.0, seed=12)
