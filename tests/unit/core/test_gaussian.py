"""Gaussian-process regression: against the textbook's inverse, and what must always hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from optikit.core.gaussian import (
    GaussianProcess,
    Kernel,
    fit_gaussian,
    log_expected_improvement,
    matern,
)

JITTER = 1e-10  # the process adds it, so that a factor exists
KERNEL = Kernel(sd=0.3, lengths=(0.5, 0.8), level=0.2)


@st.composite
def observed(draw: Any) -> tuple[Any, Any, Any]:
    """Places in the unit square, values, noise."""
    seed, count = draw(st.integers(0, 10_000)), draw(st.integers(1, 12))
    chance = np.random.default_rng(seed)
    noise = np.full(count, draw(st.sampled_from([0.01, 0.1, 1.0])))
    return chance.random((count, 2)), chance.normal(0, 0.5, count), noise


@given(observed())
@settings(max_examples=40, deadline=None)
def test_it_is_the_textbooks_formula(case: tuple[Any, Any, Any]) -> None:
    places, values, noise = case
    at = np.random.default_rng(1).random((7, 2))
    mean, sd = GaussianProcess(places, values, noise, KERNEL).at(at)
    inverse = np.linalg.inv(KERNEL.between(places, places) + np.diag(noise**2 + JITTER))
    across = KERNEL.between(at, places)
    assert mean == pytest.approx(across @ inverse @ values, abs=1e-6)
    wanted = KERNEL.between(at, at) - across @ inverse @ across.T
    assert sd**2 == pytest.approx(np.diag(wanted), abs=1e-6)


@given(observed())
@settings(max_examples=40, deadline=None)
def test_an_observation_never_makes_anything_less_certain(case: tuple[Any, Any, Any]) -> None:
    places, values, noise = case
    at = np.random.default_rng(2).random((9, 2))
    process = GaussianProcess(places[:-1], values[:-1], noise[:-1], KERNEL)
    _, before = process.at(at)
    _, after = process.with_more(places[-1:], values[-1:], noise[-1:]).at(at)
    assert (after <= before + 1e-9).all()


def test_without_noise_it_goes_through_the_observations_and_far_away_knows_nothing() -> None:
    places = np.array([[0.1, 0.1], [0.9, 0.4], [0.5, 0.9]])
    values = np.array([0.3, -0.2, 0.1])
    kernel = Kernel(sd=0.3, lengths=(0.5, 0.8))
    process = GaussianProcess(places, values, np.zeros(3), kernel)
    mean, sd = process.at(places)
    assert mean == pytest.approx(values, abs=1e-6)
    assert sd == pytest.approx(0, abs=1e-4)
    mean, sd = process.at(np.array([[50.0, 50.0]]))
    assert mean[0] == pytest.approx(0, abs=1e-6)
    assert sd[0] == pytest.approx(0.3)


def test_one_observation_moves_the_level_everywhere() -> None:
    one = np.array([[0.0, 0.0]])
    process = GaussianProcess(one, np.array([0.4]), np.array([0.01]), Kernel(0.1, (0.1, 0.1), 1.0))
    mean, _ = process.at(np.array([[9.0, 9.0]]))
    assert mean[0] == pytest.approx(0.4 / (1 + 0.01 + 0.0001))


def test_without_observations_it_is_the_kernel() -> None:
    nothing = np.zeros(0)
    process = fit_gaussian(np.zeros((0, 2)), nothing, nothing, KERNEL)
    mean, sd = process.at(np.array([[0.2, 0.2]]))
    assert (mean[0], sd[0]) == (0.0, pytest.approx(math.hypot(0.3, 0.2)))


def test_the_likelihood_is_that_of_a_normal_vector() -> None:
    places, values = np.array([[0.0], [1.0]]), np.array([0.2, -0.1])
    kernel = Kernel(0.5, (1.0,))
    process = GaussianProcess(places, values, np.full(2, 0.1), kernel)
    covariance = kernel.between(places, places) + 0.01 * np.eye(2)
    wanted = -0.5 * values @ np.linalg.solve(covariance, values)
    wanted -= 0.5 * math.log(np.linalg.det(covariance)) + math.log(2 * math.pi)
    assert process.log_likelihood == pytest.approx(wanted)


def test_a_coordinate_that_means_nothing_gets_a_longer_length() -> None:
    places = np.random.default_rng(3).random((30, 2))
    values = np.sin(6 * places[:, 0])
    usual = Kernel(0.5, (0.5, 0.5))
    found = fit_gaussian(places, values, np.full(30, 0.02), usual).kernel
    assert found.lengths[1] > 2 * found.lengths[0]


def test_large_residuals_make_the_kernel_larger_and_small_ones_smaller() -> None:
    places = np.linspace(0, 1, 20)[:, None]
    usual = Kernel(0.2, (0.3,))
    wave = np.sin(12 * places[:, 0])
    large = fit_gaussian(places, 1.5 * wave, np.full(20, 0.02), usual).kernel.sd
    small = fit_gaussian(places, 0.02 * wave, np.full(20, 0.02), usual).kernel.sd
    assert small < 0.2 < large


@pytest.mark.parametrize(
    ("places", "values"),
    [([[0.0]], [1.0, 2.0]), ([[0.0]], [math.nan]), ([[math.inf]], [1.0])],
)
def test_what_does_not_belong_together_is_refused(places: Any, values: Any) -> None:
    with pytest.raises(ValueError, match=r"values|finite"):
        GaussianProcess(np.array(places), np.array(values), np.ones(len(values)), Kernel(1, (1.0,)))


def test_the_correlation_falls_from_one() -> None:
    found = matern(np.linspace(0, 5, 40))
    assert found[0] == 1
    assert (np.diff(found) < 0).all()
    assert found[-1] < 0.001


@pytest.mark.parametrize("mean", [-1.5, -0.4, 0.0, 0.3])
def test_expected_improvement_is_its_integral(mean: float) -> None:
    sd, best = 0.3, 0.1

    def gain(x: float) -> float:
        density = math.exp(-0.5 * ((x - mean) / sd) ** 2) / sd / math.sqrt(2 * math.pi)
        return (x - best) * density

    wanted, _ = quad(gain, best, best + 20 * sd, epsabs=0, epsrel=1e-9)
    found = log_expected_improvement(np.array([mean]), np.array([sd]), best)
    assert found[0] == pytest.approx(math.log(wanted), abs=1e-3)


def test_far_below_the_best_it_still_says_which_is_nearer() -> None:
    means = np.linspace(-60, 3, 400)
    found = log_expected_improvement(means, np.ones(400), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
