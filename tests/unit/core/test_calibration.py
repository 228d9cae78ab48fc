from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.calibration import choose_samples
from optikit.errors import DatasetError

TEXTS = [f"text {n}" for n in range(40)]


@given(count=st.integers(0, 40), seed=st.integers(0, 1000))
def test_a_sample_is_distinct_and_repeats_by_its_seed(count: int, seed: int) -> None:
    one = choose_samples(TEXTS, count, seed)
    assert len(set(one.texts)) == count
    assert set(one.texts) <= set(TEXTS)
    assert choose_samples(TEXTS, count, seed) == one


def test_seeds_and_order_change_the_digest() -> None:
    digests = {choose_samples(TEXTS, 20, seed).digest for seed in range(20)}
    assert len(digests) == 20


def test_every_text_has_the_same_chance() -> None:
    seen = [text for seed in range(400) for text in choose_samples(TEXTS, 10, seed).texts]
    counts = [seen.count(text) for text in TEXTS]
    assert min(counts) > 60  # 100 expected, standard deviation 8.7
    assert max(counts) < 140


def test_too_few_says_how_many_there_are() -> None:
    with pytest.raises(DatasetError, match=r"asked 50.*found 40 usable.*at most 40"):
        choose_samples(TEXTS, 50, 0)
