from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from optikit.core.failures import FailureModel
from optikit.core.space import Point, Space
from optikit.spec.serving import Flag, ServingConfig
from optikit.spec.space import Dimension

DIMENSIONS = (
    Dimension(name="tensor_parallel", values=(1, 2, 4), log=True),
    Dimension(name="max_num_seqs", values=(32, 64, 128, 256), log=True),
    Dimension(name="max_num_batched_tokens", values=(2048, 4096, 8192, 16384), log=True),
    Dimension(name="kv_cache_dtype", values=("auto", "fp8")),
    Dimension(name="block_size", values=(16, 32), log=True),
)
SPACE = Space(DIMENSIONS, lambda serving: None, ServingConfig(max_model_len=1024))
POINTS = SPACE.points()
HEAVY: dict[str, Flag] = {
    "tensor_parallel": 1,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 16384,
    "kv_cache_dtype": "auto",
    "block_size": 16,
}


def load(point: Point) -> float:
    """Tokens of a step on one device."""
    return float(point["max_num_batched_tokens"]) / float(point["tensor_parallel"])


def taught(rule: Callable[[Point], str | None], trials: int, seed: int = 0) -> FailureModel:
    model = FailureModel(SPACE)
    for place in np.random.default_rng(seed).permutation(len(POINTS))[:trials]:
        model.learn(POINTS[place], rule(POINTS[place]))
    return model


def test_nothing_is_avoided_before_there_were_failures() -> None:
    model = FailureModel(SPACE)
    assert model.probability(HEAVY) == 0.0
    model.learn(HEAVY, None)
    assert not model.avoided(POINTS).any()


@pytest.mark.parametrize("cause", ["out of memory", "crash", "no kernel", "timeout", "a new one"])
def test_one_failure_forbids_nothing(cause: str) -> None:
    model = FailureModel(SPACE)
    model.learn(HEAVY, cause)
    assert 0 < model.probability(HEAVY) <= 1
    assert not model.avoid(HEAVY)
    assert not model.avoided(POINTS).any()


def test_what_needs_more_memory_than_failures_is_avoided() -> None:
    model = FailureModel(SPACE)
    light: Point = {
        **HEAVY,
        "max_num_seqs": 32,
        "max_num_batched_tokens": 2048,
        "tensor_parallel": 4,
    }
    for seqs in (64, 128):
        model.learn({**HEAVY, "max_num_seqs": seqs}, "out of memory")
        model.learn({**light, "max_num_seqs": seqs}, None)
    assert model.probability(HEAVY) > 0.9
    assert model.probability(light) < 0.1
    four = {**HEAVY, "tensor_parallel": 4}
    assert model.probability(HEAVY) > model.probability(four) > model.probability(light)


def test_a_region_without_memory_is_found() -> None:
    def rule(point: Point) -> str | None:
        return "out of memory" if load(point) > 4096 else None

    model = taught(rule, 41)  # 40 would end on a look
    found = np.array([model.avoid(point) for point in POINTS])
    forbidden = np.array([rule(point) is not None for point in POINTS])
    np.testing.assert_array_equal(found, model.avoided(POINTS))
    assert found[forbidden].mean() > 0.9
    assert found[~forbidden].mean() < 0.05


@pytest.mark.parametrize("cause", ["no kernel", "illegal flag", "crash"])
def test_a_value_that_always_fails_is_found(cause: str) -> None:
    model = taught(lambda point: cause if point["kv_cache_dtype"] == "fp8" else None, 14)
    found = model.avoided(POINTS)
    fp8 = np.array([point["kv_cache_dtype"] == "fp8" for point in POINTS])
    np.testing.assert_array_equal(found, fp8)


def test_a_value_without_a_kernel_stays_avoided_after_successes() -> None:
    model = taught(lambda point: "no kernel" if point["kv_cache_dtype"] == "fp8" else None, 14)
    for point in [point for point in POINTS if point["kv_cache_dtype"] == "auto"][:20]:
        model.learn(point, None)
    fp8 = np.array([point["kv_cache_dtype"] == "fp8" for point in POINTS])
    np.testing.assert_array_equal(model.avoided(POINTS), fp8)


def test_a_pair_of_values_is_not_taken_for_one() -> None:
    def rule(point: Point) -> str | None:
        both = point["kv_cache_dtype"] == "fp8" and point["block_size"] == 32
        return "no kernel" if both else None

    found = taught(rule, 24).avoided(POINTS)
    np.testing.assert_array_equal(found, [rule(point) is not None for point in POINTS])


def test_bad_luck_alone_forbids_little() -> None:
    chance = np.random.default_rng(1)
    luck = {id(point): chance.random() < 0.05 for point in POINTS}
    model = taught(lambda point: "crash" if luck[id(point)] else None, 80)
    assert model.avoided(POINTS).mean() < 0.03


def test_a_failure_of_another_kind_says_nothing() -> None:
    one, other = FailureModel(SPACE), FailureModel(SPACE)
    for model in (one, other):
        model.learn(HEAVY, "out of memory")
        model.learn({**HEAVY, "block_size": 32}, "out of memory")
    other.learn({**HEAVY, "tensor_parallel": 4}, "no kernel")
    for mine, others in zip(
        one._fails(one._causes["out of memory"], POINTS),
        other._fails(other._causes["out of memory"], POINTS),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, others)


def test_successes_make_it_bolder() -> None:
    def rule(point: Point) -> str | None:
        return "out of memory" if load(point) * float(point["max_num_seqs"]) > 2**19 else None

    model = taught(rule, 12)
    model.learn(HEAVY, "out of memory")
    before = model.avoided(POINTS)
    light = [point for point in POINTS if load(point) <= 1024][:8]
    for point in light:
        model.learn(point, None)
    after = model.avoided(POINTS)
    assert after.sum() < before.sum()
    model.learn(HEAVY, "out of memory")
    assert model.avoided(POINTS).sum() > after.sum()


def test_after_eight_that_ran_one_start_may_go_against_the_border() -> None:
    model = FailureModel(SPACE)
    light = [point for point in POINTS if load(point) <= 1024 and point["kv_cache_dtype"] == "auto"]
    for seqs in (64, 128, 256):
        model.learn({**HEAVY, "max_num_seqs": seqs}, "out of memory")
        model.learn({**HEAVY, "max_num_seqs": seqs, "kv_cache_dtype": "fp8"}, "no kernel")
    open_at = []
    for number, point in enumerate(light[:16], start=1):
        model.learn(point, None)
        if not model.avoid(HEAVY):
            open_at.append(number)
        assert model.avoid({**HEAVY, "max_num_seqs": 32, "kv_cache_dtype": "fp8"})
    assert open_at == [8, 16]
    model.learn(HEAVY, "out of memory")  # the look failed: closed until eight more ran
    assert model.avoid(HEAVY)


def test_the_same_trials_give_the_same_answers() -> None:
    def rule(point: Point) -> str | None:
        return "out of memory" if load(point) > 4096 else None

    np.testing.assert_array_equal(
        taught(rule, 30).probabilities(POINTS), taught(rule, 30).probabilities(POINTS)
    )


@pytest.mark.parametrize(
    "dimensions",
    [
        (Dimension(name="kv_cache_dtype", values=("auto", "fp8")),),
        (Dimension(name="tensor_parallel", values=(2,)),),
        (
            Dimension(name="max_num_seqs", values=(64,)),
            Dimension(name="speculative_ngram", values=(0, 2, 4)),
            Dimension(name="max_loras", values=(1, 8), extra=True, when=(("max_num_seqs", 64),)),
        ),
    ],
)
def test_any_space(dimensions: tuple[Dimension, ...]) -> None:
    space = Space(dimensions, lambda serving: None, ServingConfig(max_model_len=1024))
    model = FailureModel(space)
    points = space.points()
    for cause in ("out of memory", "no kernel", None, "out of memory"):
        model.learn(points[0], cause)
        found = model.probabilities(points)
        assert ((found >= 0) & (found <= 1)).all()
    model.learn({}, "crash")  # of another job, without a dimension of this one
    assert model.avoided([]).shape == (0,)
