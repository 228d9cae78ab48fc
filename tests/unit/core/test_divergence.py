"""The bound against exact divergences, and its interval against what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optikit.core.divergence import DocumentLogprobs, _intervals, diverge, text_digest
from optikit.errors import BadInput

Floats = NDArray[np.float64]
VOCAB, LENGTH = 40, 12
NOTHING = pytest.approx(0.0, abs=1e-12)


def logits(seed: int, documents: int = 3, scale: float = 2.0) -> list[Floats]:
    draw = np.random.default_rng(seed)
    return [scale * draw.standard_normal((LENGTH + n, VOCAB)) for n in range(documents)]


def log_softmax(rows: Floats) -> Floats:
    return np.asarray(rows - np.log(np.exp(rows).sum(axis=1, keepdims=True)))


def texts(documents: Sequence[Floats], seed: int = 99) -> list[NDArray[np.int32]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(VOCAB, size=len(rows) + 1).astype(np.int32) for rows in documents]


def answers(documents: Sequence[Floats], k: int) -> list[DocumentLogprobs]:
    """What a server would return of these models' outputs on ``texts``."""
    found = []
    for rows, tokens in zip(documents, texts(documents), strict=True):
        logs = log_softmax(rows).astype(np.float32)
        order = np.argsort(-logs, axis=1, kind="stable")[:, :k].astype(np.int32)
        actual = logs[np.arange(len(rows)), tokens[1:]]
        found.append(DocumentLogprobs(tokens, actual, order, np.take_along_axis(logs, order, 1)))
    return found


def exact_kl(base: Sequence[Floats], cand: Sequence[Floats]) -> float:
    p, q = log_softmax(np.concatenate(list(base))), log_softmax(np.concatenate(list(cand)))
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), k=st.integers(1, VOCAB), scale=st.floats(0.1, 12.0))
def test_the_bound_lies_between_nothing_and_the_exact_divergence(
    seed: int, k: int, scale: float
) -> None:
    base, cand = logits(seed, scale=scale), logits(seed + 1, scale=scale)
    found = diverge(answers(base, k), answers(cand, k), top_k=k, seed=0)
    exact = exact_kl(base, cand)
    assert 0.0 <= found.kl.value <= exact + 1e-4 * max(1.0, exact)
    assert 0.0 <= found.kl.low <= found.kl.high
    assert 0.0 <= found.top1_agreement.low <= found.top1_agreement.high <= 1.0


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_more_log_probabilities_only_raise_the_bound_up_to_the_exact_one(seed: int) -> None:
    base, cand = logits(seed), logits(seed + 1)
    whole = answers(base, VOCAB), answers(cand, VOCAB)
    bounds = [diverge(*whole, top_k=k, seed=0).kl.value for k in (1, 2, 5, 10, 20, VOCAB)]
    assert all(more >= less - 1e-6 for less, more in pairwise(bounds))
    assert bounds[-1] == pytest.approx(exact_kl(base, cand), rel=1e-3)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), k=st.integers(1, VOCAB))
def test_a_model_does_not_diverge_from_itself(seed: int, k: int) -> None:
    same = answers(logits(seed), k)
    found = diverge(same, same, top_k=k, seed=seed, baseline_again=same)
    assert (found.kl.low, found.kl.value, found.kl.high) == (0.0, 0.0, 0.0)
    assert (found.top1_agreement.low, found.top1_agreement.high) == (1.0, 1.0)
    assert (found.perplexity_ratio.low, found.perplexity_ratio.high) == (1.0, 1.0)
    assert (found.noise_kl, found.noise_top1_agreement) == (0.0, 1.0)
    assert (found.documents, found.tokens) == (3, 3 * LENGTH + 3)


def test_the_actual_token_is_known_of_both_although_neither_finds_it_likely() -> None:
    """One position, one returned token of three: the two models differ in the other two only."""
    p, q = np.log([0.6, 0.3, 0.1]), np.log([0.6, 0.1, 0.3])
    ids = np.array([0, 1], np.int32)

    def one(logs: Floats, actual: int) -> DocumentLogprobs:
        tokens = ids.copy()
        tokens[1] = actual
        top = logs[None, :1].astype(np.float32)
        return DocumentLogprobs(
            tokens, logs[[actual]].astype(np.float32), np.zeros((1, 1), np.int32), top
        )

    seen = diverge([one(p, 1)] * 2, [one(q, 1)] * 2, top_k=1, seed=0)
    unseen = diverge([one(p, 0)] * 2, [one(q, 0)] * 2, top_k=1, seed=0)
    assert seen.kl.value == pytest.approx(0.2 * np.log(3), rel=1e-5)
    assert unseen.kl.value == NOTHING
    assert seen.perplexity_ratio.value == pytest.approx(3.0, rel=1e-5)
    assert seen.top1_agreement.value == 1.0


def test_any_of_equally_likely_tokens_agrees() -> None:
    def two(first: int, second: int, logs: list[float]) -> list[DocumentLogprobs]:
        tokens = np.array([5, 9], np.int32)
        ids, top = np.array([[first, second]], np.int32), np.array([logs], np.float32)
        return [DocumentLogprobs(tokens, np.array([-3.0], np.float32), ids, top)] * 2

    tied, other = two(1, 2, [-1.0, -1.0]), two(2, 1, [-1.0, -1.25])
    assert diverge(tied, other, top_k=2, seed=0).top1_agreement.value == 1.0
    assert diverge(other, tied, top_k=2, seed=0).top1_agreement.value == 1.0
    apart = two(1, 2, [-1.0, -1.25])
    assert diverge(apart, other, top_k=2, seed=0).top1_agreement.value == 0.0


def test_an_infinite_loss_stays_a_number() -> None:
    """vLLM writes -9999 where a probability is 0; perplexity would overflow."""
    base = answers(logits(1), 5)
    ruined = [
        DocumentLogprobs(one.tokens, np.full_like(one.actual, -9999.0), one.top_ids, one.top)
        for one in base
    ]
    found = diverge(base, ruined, top_k=5, seed=0)
    assert found.perplexity_ratio.value > 1e100
    assert found.kl.value > 1.0


def test_noise_is_the_baseline_against_its_second_run() -> None:
    base, cand = answers(logits(1), 10), answers(logits(2), 10)
    found = diverge(base, cand, top_k=10, seed=0, baseline_again=cand)
    assert found.noise_kl == pytest.approx(found.kl.value)
    assert found.noise_top1_agreement == pytest.approx(found.top1_agreement.value)
    alone = diverge(base, cand, top_k=10, seed=0)
    assert (alone.noise_kl, alone.noise_top1_agreement) == (None, None)
    assert (alone.kl, alone.top_k) == (found.kl, 10)


def test_the_interval_follows_the_seed_and_holds_the_figure() -> None:
    base, cand = answers(logits(1, 20), 10), answers(logits(2, 20), 10)
    one, two, other = (diverge(base, cand, top_k=10, seed=seed) for seed in (4, 4, 5))
    assert one == two
    assert one.kl.value == other.kl.value
    assert one.kl != other.kl
    for estimate in (one.kl, one.top1_agreement, one.perplexity_ratio):
        assert estimate.low < estimate.value < estimate.high


def test_documents_are_drawn_again_not_tokens() -> None:
    """Each token twice in its document is no more evidence; each document twice would be."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(20, 200, 30).astype(float)
    sums = (draw.lognormal(-3, 0.8, 30) * tokens)[:, None]
    (once,) = _intervals(sums, tokens, seed=1)
    (twice,) = _intervals(2 * sums, 2 * tokens, seed=1)
    assert [twice.low, twice.high] == pytest.approx([once.low, once.high])
    (more,) = _intervals(np.tile(sums, (4, 1)), np.tile(tokens, 4), seed=1)
    assert more.high - more.low < 0.7 * (once.high - once.low)


@pytest.mark.parametrize(("documents", "least"), [(12, 0.87), (50, 0.90), (100, 0.91)])
def test_some_nineteen_in_twenty_intervals_hold_the_truth(documents: int, least: float) -> None:
    """Skewed divergences in documents of 30 to 300 tokens, 600 texts; the fewer, the less."""
    draw, runs, held = np.random.default_rng(7), 600, 0
    for run in range(runs):
        tokens = draw.integers(30, 300, documents).astype(float)
        mean = draw.lognormal(-4.0, 0.5, documents)
        (found,) = _intervals((mean * tokens)[:, None], tokens, seed=run, resamples=800)
        held += found.low <= np.exp(-4.0 + 0.5**2 / 2) <= found.high
    assert least <= held / runs <= 0.98


def wrong(shift: int, cut: int = 0) -> list[DocumentLogprobs]:
    """The documents of seed 1, the last of them with another token or the last tokens gone."""
    *others, last = answers(logits(1), 5)
    tokens = last.tokens.copy()
    tokens[4] = (tokens[4] + shift) % VOCAB
    n = len(tokens) - cut
    changed = DocumentLogprobs(
        tokens[:n], last.actual[: n - 1], last.top_ids[: n - 1], last.top[: n - 1]
    )
    return [*others, changed]


def test_other_text_is_refused_with_its_place() -> None:
    base = answers(logits(1), 5)
    with pytest.raises(BadInput, match="3 documents of the baseline, 2 of the candidate"):
        diverge(base, base[:2], top_k=5, seed=0)
    with pytest.raises(BadInput, match=r"document 2 of the candidate differs .* at token 4"):
        diverge(base, wrong(1), top_k=5, seed=0)
    with pytest.raises(BadInput, match=r"document 2 of the candidate differs .* after 12 tokens"):
        diverge(base, wrong(0, cut=3), top_k=5, seed=0)
    with pytest.raises(BadInput, match="second run differs"):
        diverge(base, base, top_k=5, seed=0, baseline_again=wrong(1))


def test_too_little_is_refused() -> None:
    base = answers(logits(1), 5)
    for few in (0, 1):
        with pytest.raises(BadInput, match=f"{few} documents; .*interval"):
            diverge(base[:few], base[:few], top_k=5, seed=0)
    for k in (0, 6):
        with pytest.raises(BadInput, match=f"top_k is {k}, document 0 has 5"):
            diverge(base, base, top_k=k, seed=0)


def test_columns_that_are_not_whole_are_refused() -> None:
    ids, logs = np.zeros((1, 2), np.int32), np.zeros((1, 2), np.float32)
    one = np.zeros(1, np.float32)
    with pytest.raises(BadInput, match="two tokens or more"):
        DocumentLogprobs(np.zeros(1, np.int32), one[:0], ids[:0], logs[:0])
    with pytest.raises(BadInput, match="one row for each"):
        DocumentLogprobs(np.zeros(3, np.int32), one, ids, logs)
    with pytest.raises(BadInput, match="no finite number"):
        DocumentLogprobs(np.zeros(2, np.int32), one, ids, np.full_like(logs, np.nan))


def test_the_digest_tells_where_documents_end() -> None:
    assert text_digest([[1, 2], [3]]) == text_digest([np.array([1, 2], np.int32), [3]])
    assert len({text_digest(one) for one in ([[1, 2], [3]], [[1], [2, 3]], [[3], [1, 2]])}) == 3
