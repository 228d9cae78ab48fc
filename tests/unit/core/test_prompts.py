"""Prompts: exact lengths, one prefix, nothing sent twice, no special ids."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optikit.core.arrivals import arrival_times
from optikit.core.prompts import plan_requests, prompts
from optikit.errors import BadInput
from optikit.spec.workload import Workload


@settings(deadline=None)
@given(
    prompt=st.integers(1, 60),
    prefix_share=st.floats(0, 0.99),
    count=st.integers(0, 40),
    vocab=st.integers(1_000, 200_000),
    seed=st.integers(0, 2**32),
)
def test_shape_of_prompts(
    prompt: int, prefix_share: float, count: int, vocab: int, seed: int
) -> None:
    prefix = int(prompt * prefix_share)
    workload = Workload(prompt_tokens=prompt, prefix_tokens=prefix, output_tokens=3, seed=9)
    made = prompts(workload, count, vocab, seed)
    assert len(made) == count
    assert {len(ids) for ids in made} <= {prompt}
    assert len({ids[:prefix] for ids in made}) <= 1
    assert len({ids[prefix:] for ids in made}) == count
    assert all(vocab // 20 <= i < vocab - vocab // 20 for ids in made for i in ids)
    assert made == prompts(workload, count, vocab, seed)


def test_prefix_depends_on_the_workload_alone() -> None:
    workload = Workload(prompt_tokens=40, prefix_tokens=30, seed=4)
    one, other = (prompts(workload, 3, 5_000, seed)[0] for seed in (1, 2))
    assert one[:30] == other[:30]
    assert one[30:] != other[30:]
    changed = workload.model_copy(update={"seed": 5})
    assert prompts(changed, 3, 5_000, 1)[0][:30] != one[:30]


def test_special_ids_of_the_talks_models_are_avoided() -> None:
    workload = Workload(prompt_tokens=64, output_tokens=1)
    for vocab, low, high in ((131_072, 1_000, 131_072), (128_256, 0, 128_000)):
        ids = {i for prompt in prompts(workload, 500, vocab, 0) for i in prompt}
        assert low <= min(ids)
        assert max(ids) < high


def test_every_id_once_where_one_token_is_all_there_is() -> None:
    workload = Workload(prompt_tokens=1, output_tokens=1)
    made = prompts(workload, 90, 100, seed=0)
    assert sorted(ids[0] for ids in made) == list(range(5, 95))
    with pytest.raises(BadInput, match="91 different prompts with 1 token"):
        prompts(workload, 91, 100, seed=0)


def test_plan_of_an_open_loop() -> None:
    workload = Workload(prompt_tokens=8, output_tokens=5, arrivals="constant")
    plan = plan_requests(workload, 2.0, 3, 1_000, seed=1)
    assert [request.at_s for request in plan] == [0.0, 0.5, 1.0]
    assert [request.index for request in plan] == [0, 1, 2]
    assert {request.output_tokens for request in plan} == {5}
    poisson = plan_requests(workload.model_copy(update={"arrivals": "poisson"}), 2.0, 3, 1_000, 1)
    assert [r.at_s for r in poisson] == arrival_times("poisson", 2.0, 3, 1).tolist()
    assert [r.prompt for r in poisson] == [r.prompt for r in plan]


def test_plan_of_a_closed_loop_has_no_times() -> None:
    plan = plan_requests(Workload(prompt_tokens=8), None, 4, 1_000, seed=1)
    assert [request.at_s for request in plan] == [0.0] * 4
