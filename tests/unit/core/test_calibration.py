from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.calibration import (
    Sample,
    TokenStatistics,
    choose_samples,
    held_out,
    prepare,
    strata,
)
from optikit.core.chats import Chat, chat_of_pair
from optikit.errors import DatasetError
from optikit.spec.candidate import Sampling

TEXTS = [f"text {n}" for n in range(40)]
KINDS: tuple[Sampling, ...] = ("uniform", "length_weighted", "stratified")


class Words:
    """A tokenizer of words; its template refuses what begins with a bang."""

    def render(self, chat: Chat) -> str:
        text = " / ".join(m["content"] for m in chat.messages)
        if text.startswith("!"):
            raise ValueError("no bangs")
        return text

    def measure(self, texts: Sequence[str], max_tokens: int) -> TokenStatistics:
        rows = [text.split()[: max_tokens + 1] for text in texts]
        return TokenStatistics(
            np.array([len(row) for row in rows], np.int64),
            np.array([len(set(row[:max_tokens])) for row in rows], np.int64),
            max_tokens,
        )


def statistics(tokens: Sequence[int], distinct: Sequence[int] | None = None) -> TokenStatistics:
    return TokenStatistics(
        np.array(tokens, np.int64), np.array(distinct or tokens, np.int64), max_tokens=512
    )


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[str], TokenStatistics]:
    tokens = draw(st.lists(st.integers(1, 700), min_size=1, max_size=80))
    distinct = [draw(st.integers(1, min(512, count))) for count in tokens]
    return [f"text {n}" for n in range(len(tokens))], statistics(tokens, distinct)


def drawn(
    texts: Sequence[str], facts: TokenStatistics, count: int, seed: int, how: Sampling
) -> Sample:
    return choose_samples(texts, count, seed, sampling=how, statistics=facts)


@pytest.mark.parametrize("how", KINDS)
@given(corpus=corpora(), part=st.floats(0, 1), seed=st.integers(0, 1000))
def test_a_sample_is_distinct_of_the_asked_size_and_repeats_by_its_seed(
    how: Sampling, corpus: tuple[list[str], TokenStatistics], part: float, seed: int
) -> None:
    texts, facts = corpus
    count = round(part * len(texts))
    one = drawn(texts, facts, count, seed, how)
    assert len(one.texts) == len(set(one.texts)) == count
    assert set(one.texts) <= set(texts)
    assert drawn(texts, facts, count, seed, how) == one


@given(corpus=corpora(), part=st.floats(0, 1), seed=st.integers(0, 1000))
def test_every_stratum_is_within_one_text_of_its_share(
    corpus: tuple[list[str], TokenStatistics], part: float, seed: int
) -> None:
    texts, facts = corpus
    count = round(part * len(texts))
    of_text = dict(zip(texts, strata(facts), strict=True))
    sizes = np.bincount(strata(facts), minlength=16)
    chosen = drawn(texts, facts, count, seed, "stratified")
    taken = np.bincount([of_text[text] for text in chosen.texts], minlength=16)
    assert np.all(np.abs(taken - count * sizes / len(texts)) < 1)
    assert np.all(taken <= sizes)


@pytest.mark.parametrize("how", KINDS)
def test_seeds_and_order_change_the_digest(how: Sampling) -> None:
    facts = statistics(range(1, 41))
    digests = {drawn(TEXTS, facts, 20, seed, how).digest for seed in range(20)}
    assert len(digests) == 20


@pytest.mark.parametrize("how", ["uniform", "stratified"])
def test_every_text_has_the_same_chance(how: Sampling) -> None:
    facts = statistics(range(1, 41))
    seen = [text for seed in range(400) for text in drawn(TEXTS, facts, 10, seed, how).texts]
    counts = [seen.count(text) for text in TEXTS]
    assert min(counts) > 60  # 100 expected, standard deviation 8.7
    assert max(counts) < 140


def test_equal_remainders_are_shared_by_lot() -> None:
    facts = statistics(range(1, 41))
    first = {drawn(TEXTS, facts, 1, seed, "stratified").texts for seed in range(200)}
    assert len(first) > 20  # not always of the same stratum


def test_longer_texts_are_drawn_more_often_up_to_the_cut() -> None:
    facts = statistics([100, 300, 513])  # the last one is cut to 512
    runs = 4000
    firsts = [drawn(TEXTS[:3], facts, 1, seed, "length_weighted").texts[0] for seed in range(runs)]
    for text, weight in zip(TEXTS, (100, 300, 512), strict=False):
        share = weight / 912
        deviation = (share * (1 - share) / runs) ** 0.5
        assert abs(firsts.count(text) / runs - share) < 4 * deviation


def test_strata_are_quarters_of_length_and_then_of_variety() -> None:
    tokens = [10] * 8 + [20] * 8 + [30] * 8 + [600] * 8
    distinct = [count for base in (10, 20, 30, 512) for count in [base] * 4 + [base // 2] * 4]
    found = strata(statistics(tokens, distinct))
    assert [len(set(found[start : start + 8])) for start in (0, 8, 16, 24)] == [2, 2, 2, 2]
    assert list(found // 4) == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8
    assert all(found[:4] > found[4])


def test_texts_of_the_same_figures_share_a_stratum() -> None:
    assert set(strata(statistics([600] * 9, [7] * 9))) == {0}


def test_statistics_are_needed_and_must_be_of_these_texts() -> None:
    with pytest.raises(ValueError, match="stratified sampling needs"):
        choose_samples(TEXTS, 3, 0, sampling="stratified")
    with pytest.raises(ValueError, match="length_weighted sampling needs"):
        drawn(TEXTS, statistics([1, 2]), 3, 0, "length_weighted")


@pytest.mark.parametrize("how", KINDS)
def test_too_few_says_how_many_there_are(how: Sampling) -> None:
    with pytest.raises(DatasetError, match=r"asked 50.*found 40 usable.*at most 40"):
        drawn(TEXTS, statistics(range(1, 41)), 50, 0, how)


@given(count=st.integers(0, 60), seed=st.integers(0, 99))
def test_held_out_texts_are_as_many_as_asked_each_once(count: int, seed: int) -> None:
    aside = held_out(TEXTS, count, seed)
    assert len(aside) == len(set(aside)) == min(count, 40)
    assert set(aside) <= set(TEXTS)
    assert held_out(TEXTS, count, seed) == aside


def test_the_same_seed_sets_other_texts_aside_than_it_samples() -> None:
    assert set(held_out(TEXTS, 10, 0)) != set(choose_samples(TEXTS, 10, 0).texts)


def test_chats_are_rendered_after_the_texts_and_counted() -> None:
    pairs = [("a", "b c"), ("!", "b"), ("a", "b  c"), (" ", "x"), ("a", "b c")]
    chats = [chat_of_pair([asked], answer) for asked, answer in pairs]
    ready = prepare(["one two three four"], chats, Words(), max_tokens=3)
    assert ready.texts == ("one two three four", "a / b c", "a / b  c", "  / x")
    assert list(ready.statistics.tokens) == [4, 4, 4, 2]
    assert ready.skipped == {"chat template refuses": 1, "duplicate": 1}
    assert ready.cut == 3


def test_texts_without_tokens_are_left_out() -> None:
    ready = prepare(["one", " ", "two"], [], Words(), max_tokens=3)
    assert ready.texts == ("one", "two")
    assert ready.skipped == {"no tokens": 1}
    assert len(ready.statistics.tokens) == len(ready.statistics.distinct) == 2


def test_a_template_that_refuses_all_is_quoted() -> None:
    with pytest.raises(DatasetError, match=r"0 texts and 1 chats.*refuses': 1.*no bangs.*field"):
        prepare([], [chat_of_pair(["!"], "x")], Words(), max_tokens=3)
