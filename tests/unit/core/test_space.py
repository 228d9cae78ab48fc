"""Points of a search space: there and back, legal or refused, active or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.space import Space, why_not
from optikit.errors import SpecError
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import ResourceSKU
from optikit.spec.space import FlagRange
from tests.specs import SMALL, small_plan

DEFAULT = ServingConfig(max_model_len=512)


def space(sku: str = "H100_8", **asked: object) -> Space:
    """The space of a plan for the small model, as a study gets it."""
    made = small_plan(
        compute={"sku": sku},
        workload={"prompt_tokens": 64, "output_tokens": 16},
        flow_params={"space": asked},
    )
    return Space(
        made.space.dimensions,
        lambda serving: why_not(made.shape, None, made.sku, serving),
        made.serving,
    )


def refused(message: str, sku: str = "H100_8", **asked: object) -> None:
    with pytest.raises(SpecError, match=message):
        space(sku, **asked)


def test_points_there_and_back() -> None:
    found = space(kv_cache_dtype=["auto", "fp8"], extra_flags={"async-scheduling": [True, False]})
    for point in found.points():
        serving = found.serving(point)
        assert found.point_of(serving) == point
        assert found.holds(point)
        assert found.serving(found.point_of(serving)) == serving
    assert not found.holds({"tensor_parallel": 1})


def test_what_is_not_named_is_not_searched() -> None:
    assert [d.name for d in space().dimensions] == [
        "tensor_parallel",
        "max_num_seqs",
        "max_num_batched_tokens",
    ]
    named = space(gpu_memory_utilization="search", data_parallel=[1, 2], enforce_eager="search")
    assert {d.name: d.values for d in named.dimensions[3:]} == {
        "data_parallel": (1, 2),
        "gpu_memory_utilization": (0.85, 0.9, 0.95),
        "enforce_eager": (False, True),
    }


def test_a_batch_needs_a_token_a_sequence_and_the_rest_of_the_space_stays() -> None:
    found = space(max_num_seqs=[8, 4, 8, 512], max_num_batched_tokens=[256, 1024])
    tried = {(p["max_num_seqs"], p["max_num_batched_tokens"]) for p in found.points()}
    assert tried == {(4, 256), (8, 256), (4, 1024), (8, 1024), (512, 1024)}
    refused(
        "none of its .* can stand on H100_8: max_num_batched_tokens below",
        max_num_seqs=[512],
        max_num_batched_tokens=[256],
    )


def test_replicas_take_devices_too() -> None:
    found = space(tensor_parallel=[1, 2, 4], data_parallel=[1, 2, 4, 8])
    used = {(p["tensor_parallel"], p["data_parallel"]) for p in found.points()}
    assert used == {(t, d) for t in (1, 2, 4) for d in (1, 2, 4, 8) if t * d <= 8}
    assert all(
        found.serving(p).devices == int(p["tensor_parallel"]) * int(p["data_parallel"])
        for p in found.points()
    )


def test_speculation_needs_room_for_its_tokens() -> None:
    found = space(speculative_ngram=[0, 4], max_num_seqs=[64], max_num_batched_tokens=[128, 512])
    tried = {(p["speculative_ngram"], p["max_num_batched_tokens"]) for p in found.points()}
    assert tried == {(0, 128), (0, 512), (4, 512)}


def test_a_flag_with_a_condition_is_absent_where_it_does_not_hold() -> None:
    found = space(
        tensor_parallel=[1, 2],
        max_num_seqs=[8],
        max_num_batched_tokens=[256],
        extra_flags={
            "disable-custom-all-reduce": {"values": [True, False], "when": {"tensor_parallel": 2}}
        },
    )
    points = found.points()
    assert len(points) == 3  # one at TP 1, two at TP 2
    (alone,) = [p for p in points if p["tensor_parallel"] == 1]
    assert "disable_custom_all_reduce" not in alone
    assert found.serving(alone).extra_flags == ()
    flags = {found.serving(p).extra_flags for p in points if p["tensor_parallel"] == 2}
    assert flags == {(("disable_custom_all_reduce", value),) for value in (True, False)}
    assert not found.holds({**alone, "disable_custom_all_reduce": True})


def test_bad_spaces_are_refused_with_the_key() -> None:
    refused(
        "async_scheduling: when asks x = 1; it is not searched",
        extra_flags={"async-scheduling": {"values": [True], "when": {"x": 1}}},
    )
    refused(
        "tensor_parallel = 3",
        extra_flags={"async-scheduling": {"values": [True], "when": {"tensor_parallel": 3}}},
    )
    refused(
        "async_scheduling: when names async_scheduling, which does not stand before it",
        extra_flags={"async-scheduling": {"values": [True], "when": {"async_scheduling": True}}},
    )
    refused("'block-size' has a key of its own", extra_flags={"block-size": [16]})
    refused("'max-model-len' is no dimension of a search", extra_flags={"max-model-len": [16]})
    for wrong, message in (
        ({"low": 1}, "give values, or low and high"),
        ({"low": 4, "high": 2}, "low 4 must be below high 2"),
        ({"low": 0, "high": 2, "log": True}, "begins above 0"),
        ({"values": [1, "a"]}, "several types"),
        ({"values": []}, "at least 1"),
    ):
        refused(message, extra_flags={"swap-space": wrong})
    refused("max_num_seqs", max_num_seqs=[0])
    refused("tensor_parallel", tensor_parallel=[])


@given(low=st.integers(1, 50), more=st.integers(1, 500), steps=st.integers(2, 9), log=st.booleans())
def test_a_range_becomes_ascending_values_with_both_ends(
    low: int, more: int, steps: int, log: bool
) -> None:
    found = FlagRange(low=low, high=low + more, steps=steps, log=log).resolved()
    assert found[0] == low
    assert found[-1] == low + more
    assert list(found) == sorted(set(found))
    assert len(found) <= steps


def test_a_space_too_large_to_be_walked_is_sampled_and_counted_by_shares() -> None:
    found = space(
        max_num_seqs=list(range(1, 65)),
        max_num_batched_tokens=list(range(256, 256 + 64)),
        gpu_memory_utilization="search",
        extra_flags={"swap-space": {"low": 1, "high": 16, "steps": 16}},
    )
    assert found.combinations > 100_000
    points = found.points(most=500, seed=1)
    assert 300 < len(points) <= 500
    assert points == found.points(most=500, seed=1)
    assert points != found.points(most=500, seed=2)
    size, left_out = found.counted()
    assert size == pytest.approx(found.combinations, rel=0.05)
    assert sum(left_out.values()) < 300


def test_features_are_in_the_unit_cube_and_tell_points_apart() -> None:
    found = space(kv_cache_dtype="search", enable_prefix_caching="search")
    rows = np.array([found.features(p) for p in found.points()])
    assert rows.min() == 0.0
    assert rows.max() == 1.0
    assert len(np.unique(rows, axis=0)) == len(rows)
    lowest = {d.name: d.values[0] for d in found.dimensions}
    assert found.features(lowest)[:3] == pytest.approx([0.0, 0.0, 0.0])
    # values by factors lie at equal steps: 2048, 4096, 8192, 16384
    places = [
        found.features({**lowest, "max_num_batched_tokens": v})[2] for v in (2048, 4096, 8192)
    ]
    assert np.diff(places) == pytest.approx([1 / 3, 1 / 3])


def test_the_words_of_a_refusal_say_why() -> None:
    sku = ResourceSKU.H100_2.facts
    for change, words in (
        ({"tensor_parallel": 4}, "more devices"),
        ({"max_num_seqs": 512, "max_num_batched_tokens": 256}, "tokens of one step"),
        (
            {"extra_flags": (("enable-chunked-prefill", False),), "max_num_batched_tokens": 256},
            "chunked",
        ),
    ):
        found = why_not(SMALL, None, sku, DEFAULT.model_copy(update=change))
        assert found is not None
        assert words in found
    assert why_not(SMALL, None, sku, DEFAULT) is None
