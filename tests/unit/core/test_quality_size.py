from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from optikit.core.quality_size import (
    DETECT,
    items_needed,
    items_needed_unpaired,
    items_to_tell,
    reach,
)


def test_more_items_are_asked_for_where_less_is_allowed_or_more_changes() -> None:
    plain = items_needed(0.75, 0.05, 0.01)
    assert plain is not None
    for harder in (
        items_needed(0.75, 0.05, 0.005),
        items_needed(0.4, 0.05, 0.01),
        items_needed(0.75, 0.10, 0.01),
        items_needed_unpaired(0.75, 2 * 0.75 * 0.25, 0.01),
    ):
        assert harder is not None
        assert harder > plain
    # where a loss of 3 points is the harder part, more tasks and unsteady runs ask for more
    wide = items_needed(0.75, 0.05, 0.035)
    assert wide is not None
    for harder in (
        items_needed(0.75, 0.05, 0.035, tasks=8),
        items_needed(0.75, 0.05, 0.035, noise=0.05, runs=2),
    ):
        assert harder is not None
        assert harder > wide
    assert items_needed(0.0, 0.05, 0.01) is None
    assert items_needed_unpaired(0.0, 0.0, 0.01) is None
    assert items_needed(1e-9, 0.0, 0.01) is None
    assert items_needed_unpaired(1e-9, 1e-9, 0.01) is None
    assert items_needed(DETECT / 10, 0.001, 0.01) is not None  # less to lose than DETECT


def test_the_unpaired_size_is_the_textbooks() -> None:
    # (1.96 + 0.84)^2 * variance / allowed^2
    expected = 7.849 * 0.32 / 0.008**2
    assert items_needed_unpaired(0.8, 0.32, 0.01) == pytest.approx(expected, rel=1e-3)


@given(
    baseline=st.floats(0.05, 1.0),
    spread=st.just(0.0) | st.floats(1e-6, 0.5),
    margin=st.floats(0.003, 0.3),
    tasks=st.integers(1, 8),
)
def test_the_size_is_the_least_that_keeps_a_model_without_loss_four_times_in_five(
    baseline: float, spread: float, margin: float, tasks: int
) -> None:
    items = items_needed(baseline, spread, margin, tasks=tasks)
    assert items is not None
    allowed = margin * baseline

    def kept(n: int) -> float:
        """Chance that the estimate, normal about 0, leaves its upper bound below the margin."""
        room = allowed - reach(spread, n)
        return float(ndtr(room / math.sqrt(spread / n))) if spread else float(room >= 0)

    assert kept(items) >= 0.8 - 1e-6
    if tasks == 1 and items > 2 and margin * baseline < DETECT / 4:  # keeping is the harder part
        assert kept(items - 1) < 0.8


def test_what_a_few_runs_differ_by_chance_is_counted_in() -> None:
    """Two and three runs: mean of max(0, v - 1), simulated, times (1 + 1 / R)."""
    draw = np.random.default_rng(1)
    for runs in (2, 3, 6):
        excess = np.maximum(draw.chisquare(runs - 1, 200_000) / (runs - 1) - 1, 0).mean()
        noisy = items_needed(0.75, 0.05, 0.01, noise=0.02, runs=runs)
        by_hand = items_needed(0.75, 0.05 + (1 + 1 / runs) * 0.02 * float(excess), 0.01)
        assert noisy is not None
        assert noisy == pytest.approx(by_hand, rel=0.01)


def test_a_loss_is_told_sooner_the_farther_it_lies_from_the_margin() -> None:
    near, far = items_to_tell(0.05, -0.001, 1), items_to_tell(0.05, -0.01, 1)
    assert near is not None
    assert far == pytest.approx(near / 100, abs=1)
    several = items_to_tell(0.05, 0.01, 5)
    assert several is not None
    assert far is not None
    assert several > far  # a loss must pass Holm's correction, keeping need not
    assert items_to_tell(0.05, 0.0, 1) is None
    assert items_to_tell(0.05, 1e-9, 1) is None
