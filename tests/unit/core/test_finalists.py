"""The last comparison: who takes part, who wins, and how sure the gain is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.finalists import (
    contenders,
    finalists,
    gain,
    mean_rate,
    rounds,
    shipped_run,
    winner,
)
from optikit.spec.record import Contender, RateResult, Trial
from optikit.spec.serving import ServingConfig


def trial(name: str, rate: float | None, seqs: int = 8, tp: int = 1, **more: object) -> Trial:
    outcome = "infeasible" if rate is None else "pass"
    found = RateResult.model_validate(
        {
            "outcome": outcome,
            "rate_rps": rate,
            "preliminary": more.pop("preliminary", False),
            "reason": "",
            "method": "adjusted",
            "requests": 1,
        }
    )
    return Trial.model_validate(
        {
            "id": name,
            "number": 0,
            "purpose": "tune",
            "variant": "baseline",
            "state": "complete",
            "model_digest": "sha256:a",
            "serving": ServingConfig(max_model_len=64, max_num_seqs=seqs, tensor_parallel=tp),
            "rate": found,
            **more,
        }
    )


def contender(of: str, *rates: float | None, default: bool = False) -> Contender:
    return Contender(
        of=of,
        variant="baseline",
        default=default,
        runs=tuple(f"{of}-{k}" for k in range(len(rates))),
        rates_per_device=rates,
    )


def test_the_best_of_different_configurations_take_part_by_rate_per_device() -> None:
    tried = [
        trial("a", 10.0, 8),
        trial("b", 18.0, 8, tp=2),
        trial("c", None, 64),
        trial("d", 12.0, 16),
        trial("e", 11.0, 16),  # the same configuration as d
        trial("f", 3.0, 4),
    ]
    assert [t.id for t in finalists(tried, 3)] == ["d", "a", "b"]
    assert finalists(tried, 0) == []


def test_every_second_round_goes_the_other_way() -> None:
    two = [trial("a", 1.0), trial("b", 1.0)]
    order = [(t.id, number) for t, number in rounds(two, 3)]
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]


def test_runs_are_gathered_by_the_trial_that_proposed_them() -> None:
    runs = [
        trial("f0-b0", 10.0, purpose="finalist", of="b0"),
        trial("f0-t3", 24.0, tp=2, purpose="finalist", of="t3"),
        trial("f1-b0", None, purpose="finalist", of="b0"),
    ]
    default, other = contenders(runs, [trial("b0", 10.0)])
    assert (default.of, default.default, default.rates_per_device) == ("b0", True, (10.0, None))
    assert (other.of, other.default, other.rates_per_device) == ("t3", False, (12.0,))
    assert mean_rate(default) is None
    assert mean_rate(other) == pytest.approx(12.0)


def test_one_that_missed_a_run_loses_to_one_that_never_did() -> None:
    fast, steady = contender("fast", 30.0, None), contender("steady", 10.0, 10.0)
    assert winner([fast, steady]) == steady
    assert winner([fast]) == fast
    assert winner([contender("none", None, None)]) is None


def test_the_certificate_that_ships_is_the_middle_run_and_no_preliminary_one() -> None:
    runs = [
        trial("x-0", 12.0),
        trial("x-1", 10.0),
        trial("x-2", 8.0, preliminary=True),
    ]
    found = shipped_run(contender("x", 12.0, 10.0, 8.0), runs)
    assert found is not None
    assert found.id == "x-1"
    assert shipped_run(contender("y", 1.0), runs) is None


def test_without_repeats_there_is_a_gain_and_no_interval() -> None:
    one, two = contender("a", 10.0), contender("b", 15.0)
    found = gain([one, two], two, one)
    assert found is not None
    assert found.value == pytest.approx(1.5)
    assert (found.low, found.tie) == (None, None)
    assert gain([one, contender("c", None)], contender("c", None), one) is None


def test_a_difference_within_the_scatter_is_a_tie() -> None:
    default = contender("d", 10.0, 11.0, default=True)
    best = contender("b", 10.5, 11.5)
    found = gain([default, best], best, default)
    assert found is not None
    assert found.tie is True
    clear = contender("c", 20.0, 20.2)
    sure = gain([default, clear], clear, default)
    assert sure is not None
    assert sure.tie is False


@given(scale=st.floats(0.1, 100.0))
def test_a_gain_has_no_unit(scale: float) -> None:
    a, b = contender("a", 10.0, 12.0), contender("b", 15.0, 14.0)
    c, d = (
        contender(x.of, *(r * scale for r in x.rates_per_device if r is not None)) for x in (a, b)
    )
    one, two = gain([a, b], b, a), gain([c, d], d, c)
    assert one is not None
    assert two is not None
    assert one.low is not None
    assert two.low is not None
    assert two.value == pytest.approx(one.value)
    assert two.low == pytest.approx(one.low)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    truth, held, runs = math.log(1.2), 0, 2000
    for _ in range(runs):
        noise = chance.normal(0.0, 0.05, size=(3, 2))
        rows = np.exp(noise + np.array([[0.0], [truth], [0.1]]))
        all_three = [contender(str(k), *map(float, row)) for k, row in enumerate(rows)]
        found = gain(all_three, all_three[1], all_three[0])
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.2 <= found.high
    assert 0.93 < held / runs < 0.97
