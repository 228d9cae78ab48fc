from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.quality import compare
from optikit.errors import BadInput
from optikit.spec.record import ItemScores, QualityVerdict


def items(scores: list[float], task: str = "t") -> ItemScores:
    return ItemScores(task=task, metric="acc", scores=tuple(scores))


def judge(base: list[float], cand: list[float], margin: float = 0.01) -> QualityVerdict:
    return compare([items(base)], [items(cand)], margin, "c0")


scores = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=300)
pairs = st.integers(2, 300).flatmap(
    lambda n: st.tuples(*[st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)] * 2)
)
ORDER = {"lost": 0, "cannot tell": 1, "kept": 2}


@given(base=scores, margin=st.floats(0.001, 0.5))
def test_identical_models_are_never_lost(base: list[float], margin: float) -> None:
    assert judge(base, base, margin).verdict != "lost"


@given(pair=pairs, margin=st.floats(0.001, 0.5))
def test_not_both_ways_lost(pair: tuple[list[float], list[float]], margin: float) -> None:
    one, two = pair
    assert [judge(one, two, margin).verdict, judge(two, one, margin).verdict].count("lost") < 2


@given(pair=pairs)
def test_a_wider_margin_is_never_stricter(pair: tuple[list[float], list[float]]) -> None:
    # up to margins that exceed what the sample could ever show
    verdicts = [ORDER[judge(*pair, margin).verdict] for margin in (0.01, 0.05, 0.2)]
    assert verdicts == sorted(verdicts)


def test_few_items_cannot_prove_one_percent_and_enough_can() -> None:
    small = judge([1.0, 1.0, 0.0, 1.0] * 12, [1.0, 1.0, 0.0, 1.0] * 12)
    assert small.verdict == "cannot tell"
    assert "items would tell" in small.reason
    needed = int(small.reason.split("about ")[1].split()[0])
    enough = [1.0, 1.0, 0.0, 1.0] * (needed // 4 + 1)
    assert judge(enough, enough).verdict == "kept"
    assert judge(enough[: needed // 2], enough[: needed // 2]).verdict == "cannot tell"


def test_a_model_at_the_margin_is_called_kept_no_more_often_than_said() -> None:
    """Simulated where the rule of three bites: few changed items, all of them losses."""
    draw = np.random.default_rng(3)
    accuracy, margin, runs = 0.75, 0.01, 4000
    for n in (363, 400, 500, 1000):
        base = np.r_[np.ones(round(accuracy * n)), np.zeros(n - round(accuracy * n))]
        kept = 0
        for lost in draw.binomial(n, margin * accuracy, runs):
            cand = base.copy()
            cand[:lost] = 0.0
            kept += judge(base.tolist(), cand.tolist(), margin).verdict == "kept"
        assert kept / runs <= 0.032, n  # 2.5 % and three standard errors


def test_a_large_loss_is_lost() -> None:
    base = [1.0] * 90 + [0.0] * 10
    verdict = judge(base, [1.0] * 60 + [0.0] * 40)
    assert verdict.verdict == "lost"
    assert verdict.tasks[0].recovery == pytest.approx(60 / 90)


def test_identical_up_to_noise_is_called_lost_in_at_most_five_percent() -> None:
    draw = np.random.default_rng(1)
    lost = 0
    for _ in range(1000):
        base = (draw.random(200) < 0.7).astype(float)
        flip = draw.random(200) < 0.1
        # symmetric noise: flipped items keep the accuracy on average
        cand = np.where(flip, (draw.random(200) < 0.7).astype(float), base)
        lost += judge(base.tolist(), cand.tolist()).verdict == "lost"
    assert lost <= 50


def test_recovery_and_its_error_use_the_pairing() -> None:
    draw = np.random.default_rng(2)
    base = (draw.random(400) < 0.8).astype(float)
    score = judge(base.tolist(), base.tolist()).tasks[0]
    assert score.recovery == 1.0
    assert score.recovery_stderr == pytest.approx(0.0, abs=1e-12)
    other = (draw.random(400) < 0.8).astype(float)
    unpaired = judge(base.tolist(), other.tolist()).tasks[0]
    independent = np.hypot(unpaired.baseline_stderr, unpaired.candidate_stderr) / base.mean()
    assert unpaired.recovery_stderr == pytest.approx(independent, rel=0.15)


def test_several_tasks_one_lost_is_lost_and_all_must_be_kept() -> None:
    good, bad = [1.0] * 1000, [1.0] * 500 + [0.0] * 500
    base = [items(good, "a"), items(good, "b")]
    assert compare(base, [items(good, "a"), items(bad, "b")], 0.01, "c").verdict == "lost"
    assert compare(base, base, 0.01, "c").verdict == "kept"
    few = [items(good, "a"), items([1.0] * 5, "b")]
    assert compare(few, few, 0.01, "c").verdict == "cannot tell"


def test_other_items_are_refused() -> None:
    with pytest.raises(BadInput, match="same items"):
        judge([1.0, 0.0], [1.0])
    with pytest.raises(BadInput, match="same tasks"):
        compare([items([1.0], "a")], [items([1.0], "b")], 0.01, "c")


def test_a_baseline_that_scores_nothing_has_no_recovery() -> None:
    verdict = judge([0.0] * 50, [0.0] * 50)
    assert verdict.verdict == "cannot tell"
    assert verdict.tasks[0].recovery is None
