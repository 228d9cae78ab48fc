"""Prompts: exact lengths, one prefix, nothing sent twice, no special ids."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optikit.core.prompts import prompts
from optikit.errors import BadInput
from optikit.spec.workload import Workload


def workload(prefix: int = 0, distinct: int | None = None, seed: int = 9) -> Workload:
    return Workload(
        prompt_tokens=prefix + 1, prefix_tokens=prefix, distinct_prompts=distinct, seed=seed
    )


@settings(deadline=None)
@given(
    rest=st.lists(st.integers(2, 60), max_size=40),
    prefix=st.integers(0, 50),
    vocab=st.integers(1_000, 200_000),
    seed=st.integers(0, 2**32),
)
def test_shape_of_prompts(rest: list[int], prefix: int, vocab: int, seed: int) -> None:
    sizes = [prefix + size for size in rest]
    made = prompts(workload(prefix), sizes, vocab, seed)
    assert [len(ids) for ids in made] == sizes
    assert len({ids[:prefix] for ids in made}) <= 1
    assert len({ids[prefix:] for ids in made}) == len(sizes)
    assert all(vocab // 20 <= i < vocab - vocab // 20 for ids in made for i in ids)
    assert made == prompts(workload(prefix), sizes, vocab, seed)


@settings(deadline=None)
@given(
    rest=st.lists(st.integers(2, 40), min_size=1, max_size=40),
    prefix=st.integers(0, 20),
    distinct=st.integers(1, 50),
)
def test_distinct_prompts_are_used_in_turn(rest: list[int], prefix: int, distinct: int) -> None:
    sizes = [prefix + size for size in rest]
    made = prompts(workload(prefix, distinct), sizes, 5_000, seed=1)
    assert [len(ids) for ids in made] == sizes
    for turn in range(min(distinct, len(made))):
        alike = sorted(made[turn::distinct], key=len)
        assert all(longer[: len(ids)] == ids for ids in alike for longer in alike[-1:])
    longest = [max(made[turn::distinct], key=len) for turn in range(min(distinct, len(made)))]
    assert len(set(longest)) == len(longest)


def test_one_length_and_k_prompts() -> None:
    assert len(set(prompts(workload(4, 3), [12] * 50, 5_000, seed=1))) == 3
    assert len(set(prompts(workload(4, 90), [12] * 50, 5_000, seed=1))) == 50


def test_prefix_depends_on_the_workload_alone() -> None:
    one, other = (prompts(workload(30, seed=4), [40] * 3, 5_000, seed)[0] for seed in (1, 2))
    assert one[:30] == other[:30]
    assert one[30:] != other[30:]
    assert prompts(workload(30, seed=5), [40] * 3, 5_000, 1)[0][:30] != one[:30]


def test_special_ids_of_the_talks_models_are_avoided() -> None:
    for vocab, low, high in ((131_072, 1_000, 131_072), (128_256, 0, 128_000)):
        ids = {i for prompt in prompts(workload(), [64] * 500, vocab, 0) for i in prompt}
        assert low <= min(ids)
        assert max(ids) < high


def test_every_id_once_where_one_token_is_all_there_is() -> None:
    made = prompts(workload(), [1] * 90, 100, seed=0)
    assert sorted(ids[0] for ids in made) == list(range(5, 95))
    with pytest.raises(BadInput, match="91 different prompts with 1 token"):
        prompts(workload(), [1] * 91, 100, seed=0)
    with pytest.raises(BadInput, match="91 different prompts with 1 token"):
        prompts(workload(distinct=91), [1] * 100, 100, seed=0)
    assert len(set(prompts(workload(distinct=90), [1] * 100, 100, seed=0))) == 90


def test_a_longer_length_may_be_the_scarce_one() -> None:
    with pytest.raises(BadInput, match="101 different prompts with 2 token"):
        prompts(workload(), [1] * 5 + [2] * 101, 10, seed=0)


def test_a_prompt_shorter_than_the_prefix_is_refused() -> None:
    with pytest.raises(BadInput, match="8 shared tokens do not go into a prompt of 7"):
        prompts(workload(8), [20, 7], 5_000, seed=0)
    assert [len(ids) for ids in prompts(workload(8), [8, 9], 5_000, seed=0)] == [8, 9]
