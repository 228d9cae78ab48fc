"""Corrections of predictions by the trials seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.corrections import (
    Line,
    StepFact,
    StepFactors,
    fit_line,
    fit_step_factors,
    ridge,
)
from optikit.core.steptimes import StepTimes
from optikit.spec.workload import Workload

WORK = Workload.parse({"prompt_tokens": 2000, "output_tokens": 100})


def times(budget: int = 4096) -> StepTimes:
    linear = np.maximum(5e-3, 2e-5 * np.arange(budget + 1))
    return StepTimes(linear, 1e-8, 2e-10, 1.5e-3, 4e-6, "test")


def fact(degree: int, ttft: float, tpot: float, budget: int = 4096) -> StepFact:
    """Latencies that are so many times the predicted ones."""
    expected = 2e-5 * 2000 + 1.5e-3 + 4e-6 + 2e-10 * 2000**2 / 2, times().decode_s(1, 2050)
    return StepFact(
        degree,
        times(budget),
        budget,
        (expected[0], ttft * expected[0]),
        (expected[1], tpot * expected[1]),
    )


def test_no_data_is_no_correction() -> None:
    assert fit_line([], [], [], 0.05) == Line()
    assert Line().at(4, 1.7) == 1.7
    assert fit_step_factors([], WORK) == {0: StepFactors()}


def test_the_ridge_is_the_normal_equations() -> None:
    chance = np.random.default_rng(0)
    rows, values = chance.normal(size=(9, 3)), chance.normal(size=9)
    sds, mean, prior = np.full(9, 0.3), np.array([1.0, 0.0, -1.0]), np.array([0.5, 1.0, 2.0])
    found = ridge(rows, values, sds, mean, prior)
    gram = rows.T @ rows / 0.09 + np.diag(prior**-2)
    wanted = np.linalg.solve(gram, rows.T @ values / 0.09 + mean / prior**2)
    assert found == pytest.approx(wanted)


@given(st.floats(-0.4, 0.4), st.integers(2, 12))
def test_what_all_trials_agree_on_is_believed(offset: float, count: int) -> None:
    expected = [0.1 * i for i in range(count)]
    line = fit_line([1, 2] * (count // 2) + [1] * (count % 2), expected, [
        x + offset for x in expected
    ], 0.05)  # fmt: skip
    assert line.at(1, 0.3) - 0.3 == pytest.approx(offset, abs=0.1 * abs(offset) + 0.01)


def test_a_degree_that_was_not_measured_takes_part_of_what_the_others_show() -> None:
    line = fit_line([1, 1, 1], [0.0, 0.1, 0.2], [0.3, 0.4, 0.5], 0.05)
    own, other = line.at(1, 0.1) - 0.1, line.at(8, 0.1) - 0.1
    assert 0.15 < other < own <= 0.3


def test_each_degree_keeps_its_own() -> None:
    degrees = [1] * 4 + [8] * 4
    expected = [0.0, 0.1, 0.2, 0.3] * 2
    measured = [x + (0.2 if d == 1 else -0.1) for d, x in zip(degrees, expected, strict=True)]
    line = fit_line(degrees, expected, measured, 0.05)
    assert line.at(1, 0.15) - 0.15 == pytest.approx(0.2, abs=0.05)
    assert line.at(8, 0.15) - 0.15 == pytest.approx(-0.1, abs=0.05)


def test_one_wild_trial_moves_little_that_many_agree_on() -> None:
    expected = [0.0] * 9
    line = fit_line([2] * 9, expected, [0.0] * 8 + [1.0], 0.05)
    assert abs(line.at(2, 0.0)) < 0.15


@pytest.mark.parametrize(("ttft", "tpot"), [(1.4, 1.0), (1.0, 0.75), (0.8, 1.3)])
def test_latencies_alone_tell_the_terms_of_a_step(ttft: float, tpot: float) -> None:
    found = fit_step_factors([fact(2, ttft, tpot) for _ in range(3)], WORK)[2]
    corrected = found.applied(times())
    wanted, seen = tpot * times().decode_s(1, 2050), corrected.decode_s(1, 2050)
    assert seen == pytest.approx(wanted, rel=0.04)
    assert corrected.prefill_s(2000) == pytest.approx(ttft * times().prefill_s(2000), rel=0.06)


def test_a_degree_that_was_not_measured_has_the_shared_factors() -> None:
    found = fit_step_factors([fact(1, 1.4, 1.2), fact(2, 1.4, 1.2)], WORK)
    assert set(found) == {0, 1, 2}
    assert 1.2 < found[0].compute < 1.45
    assert 1.05 < found[0].memory < 1.25


def test_chunks_read_the_weights_again() -> None:
    (compute, memory, steps), _ = fact(1, 1.0, 1.0, budget=512).rows(WORK)[0]
    assert steps == 4
    whole, _ = fact(1, 1.0, 1.0).rows(WORK)[0]
    assert memory / compute > whole[1] / whole[0]


def test_factors_are_bounded_and_step_times_stay_positive() -> None:
    found = fit_step_factors([fact(1, 50.0, 0.01)] * 20, WORK)[1]
    assert 1 / 3 <= found.memory <= found.compute <= 3
    corrected = StepFactors(1 / 3, 3.0, -1.0).applied(times())
    assert (corrected.linear_s >= 0).all()
    assert corrected.step_s >= 0


def test_factors_that_are_nearly_equal_are_one() -> None:
    one, two = StepFactors(1.204, 0.906, 2e-5), StepFactors(1.206, 0.907, 2.5e-5)
    assert one.rounded(1e-3) == two.rounded(1e-3)
    assert one.rounded(1e-3).compute == pytest.approx(1.2, rel=0.011)
    assert one.near(two, 0.05, 1e-3)
    assert not one.near(StepFactors(1.3, 0.9, 0.0), 0.05, 1e-3)
    assert StepFactors().rounded(1e-3) == StepFactors()
    assert math.isfinite(one.rounded(0.0).constant_s)
