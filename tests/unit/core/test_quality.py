from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import bdtr

from optikit.core.quality import compare
from optikit.errors import BadInput
from optikit.spec.quality import ItemScores, QualityVerdict

Scores = NDArray[np.float64]


def items(scores: list[float], task: str = "t", metric: str = "acc") -> ItemScores:
    return ItemScores(task=task, metric=metric, scores=tuple(scores))


def judge(base: list[float], cand: list[float], margin: float = 0.01) -> QualityVerdict:
    return compare([[items(base)]], [items(cand)], margin, "c0")


def judge_runs(runs: list[Scores], cand: Scores, margin: float = 0.01) -> QualityVerdict:
    baseline = [[items(run.tolist())] for run in runs]
    return compare(baseline, [items(cand.tolist())], margin, "c0")


def flipped(draw: np.random.Generator, base: Scores, share: float) -> Scores:
    """The same answers but for a share that is drawn anew at the same accuracy, both ways."""
    anew = draw.random(len(base)) < share
    return np.where(anew, draw.random(len(base)) < base.mean(), base).astype(float)


scores = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=300)
pairs = st.integers(1, 300).flatmap(
    lambda n: st.tuples(*[st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)] * 2)
)
graded = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=50)
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


@given(rows=graded, margin=st.floats(0.001, 0.5))
def test_graded_scores_give_figures_that_hang_together(
    rows: list[tuple[float, float]], margin: float
) -> None:
    score = judge([b for b, _ in rows], [c for _, c in rows], margin).tasks[0]
    assert score.loss.low <= score.loss.value + 1e-12
    assert score.loss.value <= score.loss.high + 1e-12
    assert score.loss.value == pytest.approx(score.baseline - score.candidate, abs=1e-12)
    assert 0 <= score.p_lost <= 1
    assert score.changed == sum(b != c for b, c in rows)
    assert score.items_needed is None or score.items_needed > score.items
    if score.verdict != "cannot tell":
        assert score.items_needed is None


def test_few_items_cannot_prove_one_percent_and_the_number_asked_for_can() -> None:
    small = judge([1.0, 1.0, 0.0, 1.0] * 12, [1.0, 1.0, 0.0, 1.0] * 12)
    assert small.verdict == "cannot tell"
    needed = small.tasks[0].items_needed
    assert needed is not None
    assert f"about {needed} items would tell" in small.reason
    enough = [1.0, 1.0, 0.0, 1.0] * (needed // 4 + 1)
    assert judge(enough, enough).verdict == "kept"
    # not one change in 400 items: the rule of three still allows a loss of 1 %
    assert judge(enough[:400], enough[:400]).verdict == "cannot tell"


@given(
    n=st.integers(20, 20_000),
    accuracy=st.floats(0.3, 1.0),
    lost=st.integers(0, 60),
    margin=st.floats(0.002, 0.02),
)
def test_kept_is_no_bolder_than_the_exact_binomial_where_every_change_is_a_loss(
    n: int, accuracy: float, lost: int, margin: float
) -> None:
    right = max(1, round(accuracy * n))
    lost = min(lost, right)
    base = [1.0] * right + [0.0] * (n - right)
    cand = [0.0] * lost + [1.0] * (right - lost) + [0.0] * (n - right)
    if judge(base, cand, margin).verdict == "kept":
        assert bdtr(lost, n, margin * right / n) <= 0.028


def test_a_model_at_the_margin_is_called_kept_no_more_often_than_said() -> None:
    """Simulated where the rule of three bites: few changed items, all of them losses."""
    draw = np.random.default_rng(3)
    accuracy, margin, runs = 0.75, 0.01, 2000
    for n in (363, 400, 500, 1000):
        base = np.r_[np.ones(round(accuracy * n)), np.zeros(n - round(accuracy * n))]
        kept = 0
        for lost in draw.binomial(n, margin * accuracy, runs):
            cand = base.copy()
            cand[:lost] = 0.0
            kept += judge(base.tolist(), cand.tolist(), margin).verdict == "kept"
        assert kept / runs <= 0.036, n  # 2.5 % and three standard errors


def test_a_model_at_the_margin_with_changes_both_ways_is_called_neither_too_often() -> None:
    draw = np.random.default_rng(4)
    n, accuracy, margin, runs = 1500, 0.8, 0.01, 1000
    chances = [0.03 + margin * accuracy, accuracy - 0.03 - margin * accuracy, 0.03, 0.17]
    words = []
    for lost, both, won, _ in draw.multinomial(n, chances, runs):
        base, cand = np.zeros(n), np.zeros(n)
        base[: lost + both] = 1.0
        cand[lost : lost + both + won] = 1.0
        words.append(judge(base.tolist(), cand.tolist(), margin).verdict)
    assert words.count("kept") / runs <= 0.04
    assert words.count("lost") / runs <= 0.04


def test_a_large_loss_is_lost() -> None:
    base = [1.0] * 90 + [0.0] * 10
    verdict = judge(base, [1.0] * 60 + [0.0] * 40)
    assert verdict.verdict == "lost"
    score = verdict.tasks[0]
    assert score.verdict == "lost"
    assert score.recovery == pytest.approx(60 / 90)
    assert score.loss.value == pytest.approx(0.3)
    assert 0.15 < score.loss.low < 0.3 < score.loss.high < 0.45
    assert score.changed == 30
    assert score.p_lost < 0.001
    assert "loss beyond 1.00%" in verdict.reason


def test_identical_up_to_noise_is_called_lost_in_at_most_five_percent() -> None:
    draw = np.random.default_rng(1)
    lost = 0
    for _ in range(1000):
        base = (draw.random(200) < 0.7).astype(float)
        lost += judge(base.tolist(), flipped(draw, base, 0.1).tolist()).verdict == "lost"
    assert lost <= 50


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_one_more_run_of_an_unsteady_engine_is_not_a_loss(runs: int) -> None:
    draw = np.random.default_rng(runs)
    lost = 0
    for _ in range(400):
        truth = (draw.random(300) < 0.7).astype(float)
        *base, cand = (flipped(draw, truth, 0.1) for _ in range(runs + 1))
        lost += judge_runs(base, cand).verdict == "lost"
    assert lost <= 20


@pytest.mark.parametrize("runs", [2, 3])
def test_what_moves_whole_runs_is_not_a_loss_either(runs: int) -> None:
    """A run's accuracy moves by 2 points, all items together: more than items would explain."""
    draw = np.random.default_rng(runs)
    lost = 0
    for _ in range(400):
        balance = draw.random(2000)
        *base, cand = (
            (balance < 0.7 + 0.02 * draw.standard_normal()).astype(float) for _ in range(runs + 1)
        )
        lost += judge_runs(base, cand).verdict == "lost"
    assert lost <= 0.05 * 400 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_runs_that_differ_as_much_as_the_candidate_block_the_loss_and_say_so() -> None:
    base = np.r_[np.ones(800), np.zeros(200)]
    worse, better = base.copy(), base.copy()
    worse[:40], better[800:840] = 0.0, 1.0
    cand = base.copy()
    cand[:80] = 0.0
    one = judge_runs([base], cand)
    assert one.verdict == "lost"
    assert one.tasks[0].runs == 1
    assert one.tasks[0].baseline_std is None
    several = judge_runs([worse, better], cand)
    assert several.verdict == "cannot tell"
    assert "the baseline's own 2 runs differ too much (STD 5.66%)" in several.reason
    assert several.tasks[0].items_needed is None  # no number of items steadies whole runs
    assert several.tasks[0].runs == 2
    assert several.tasks[0].baseline == pytest.approx(0.8)
    assert several.tasks[0].baseline_std == pytest.approx(0.08 / 2**0.5)
    assert several.tasks[0].baseline_relative_std == pytest.approx(0.1 / 2**0.5)


def test_steady_runs_do_not_stand_in_the_way_of_a_loss() -> None:
    base = np.r_[np.ones(800), np.zeros(200)]
    cand = base.copy()
    cand[:80] = 0.0
    verdict = judge_runs([base, base, base], cand)
    assert verdict.verdict == "lost"
    assert verdict.tasks[0].baseline_std == 0.0
    assert verdict.tasks[0].changed == 80


def test_three_points_are_found_at_the_size_that_the_verdict_asks_for() -> None:
    draw = np.random.default_rng(5)
    found, kept, runs = 0, 0, 0
    for _ in range(40):
        first = (draw.random(300) < 0.75).astype(float)
        size = judge(first.tolist(), flipped(draw, first, 0.15).tolist()).tasks[0].items_needed
        if size is None:  # 300 items told already
            continue
        runs += 1
        base = (draw.random(size) < 0.75).astype(float)
        same = flipped(draw, base, 0.15)
        worse = np.where(draw.random(size) < 0.03 / 0.75, 0.0, same)
        found += judge(base.tolist(), worse.tolist()).verdict == "lost"
        kept += judge(base.tolist(), same.tolist()).verdict == "kept"
    assert runs >= 35
    assert found >= 0.9 * runs
    assert kept >= 0.6 * runs  # 80 %, less three standard errors


def test_a_loss_near_the_margin_asks_for_more_than_it_has() -> None:
    draw = np.random.default_rng(6)
    base = (draw.random(20_000) < 0.75).astype(float)
    cand = base.copy()
    cand[np.flatnonzero(base)[:140]] = 0.0  # 0.7 points of the 0.75 allowed
    score = judge(base.tolist(), cand.tolist()).tasks[0]
    assert score.verdict == "cannot tell"
    assert score.items_needed is not None
    assert score.items_needed > 20_000


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
    base = [[items(good, "a"), items(good, "b")]]
    lost = compare(base, [items(bad, "b"), items(good, "a")], 0.01, "c")
    assert lost.verdict == "lost"
    assert [score.verdict for score in lost.tasks] == ["kept", "lost"]
    assert lost.reason.startswith("b: 50.0% after 100.0%")
    assert compare(base, base[0], 0.01, "c").verdict == "kept"
    few = [items(good, "a"), items([1.0] * 5, "b")]
    assert compare([few], few, 0.01, "c").verdict == "cannot tell"


def test_more_tasks_need_a_smaller_p_by_holm() -> None:
    base, cand = [1.0] * 100, [1.0] * 92 + [0.0] * 8
    alone = judge(base, cand).tasks[0].p_lost
    assert alone < 0.025
    names = ["a", "b", "c"]
    baseline = [[items(base, name) for name in names]]
    same = compare(baseline, [items(cand, "a"), items(base, "b"), items(base, "c")], 0.01, "x")
    assert same.tasks[0].p_lost == pytest.approx(3 * alone)
    # step down: with all three lost alike, the smallest decides for all
    worse = compare(baseline, [items(cand, name) for name in names], 0.01, "x")
    assert [score.p_lost for score in worse.tasks] == pytest.approx([3 * alone] * 3)
    large = [1.0] * 50 + [0.0] * 50
    mixed = compare(baseline, [items(large, "a"), items(cand, "b"), items(base, "c")], 0.01, "x")
    assert mixed.tasks[1].p_lost == pytest.approx(2 * alone)


def test_other_items_are_refused() -> None:
    with pytest.raises(BadInput, match="same items"):
        judge([1.0, 0.0], [1.0])
    with pytest.raises(BadInput, match="same items"):
        judge([], [])
    with pytest.raises(BadInput, match="same tasks"):
        compare([[items([1.0], "a")]], [items([1.0], "b")], 0.01, "c")
    with pytest.raises(BadInput, match="same tasks"):
        compare([[items([1.0])], []], [items([1.0])], 0.01, "c")
    with pytest.raises(BadInput, match="same tasks"):
        compare([[items([1.0])]], [items([1.0], metric="f1")], 0.01, "c")
    with pytest.raises(BadInput, match="each once"):
        compare([[items([1.0])] * 2], [items([1.0])] * 2, 0.01, "c")
    with pytest.raises(BadInput, match="no run"):
        compare([], [items([1.0])], 0.01, "c")


@pytest.mark.parametrize("score", [1.5, -0.1, 37.0])
def test_a_score_outside_0_to_1_is_refused(score: float) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        judge([0.5, 1.0], [0.5, score])


def test_a_baseline_that_scores_nothing_has_no_recovery() -> None:
    verdict = judge([0.0] * 50, [0.0] * 50)
    assert verdict.verdict == "cannot tell"
    assert "nothing to lose" in verdict.reason
    assert verdict.tasks[0].recovery is None
    assert verdict.tasks[0].items_needed is None


def test_one_item_cannot_tell() -> None:
    verdict = judge([1.0], [0.0])
    assert verdict.verdict == "cannot tell"
    assert verdict.tasks[0].items_needed is not None
    assert verdict.tasks[0].recovery_stderr is None
