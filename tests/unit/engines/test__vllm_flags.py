from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.engines import _vllm_flags
from optikit.engines._vllm_flags import arguments
from optikit.errors import BadInput
from optikit.spec.serving import Flag, ServingConfig

SERVING = ServingConfig(
    tensor_parallel=2,
    max_num_seqs=16,
    max_num_batched_tokens=1024,
    max_model_len=48,
    dtype="float32",
    enforce_eager=True,
    gpu_memory_utilization=0.85,
)


def flags(*extra: tuple[str, Flag], device: str = "gpu", **changes: Any) -> list[str]:
    return arguments(SERVING.model_copy(update={"extra_flags": extra, **changes}), device)  # type: ignore[arg-type]


def test_every_field_becomes_its_flag() -> None:
    assert flags() == [
        *("--tensor-parallel-size", "2", "--max-num-seqs", "16"),
        *("--max-num-batched-tokens", "1024", "--max-model-len", "48"),
        *("--dtype", "float32", "--enforce-eager", "--gpu-memory-utilization", "0.85"),
        *("--no-enable-prefix-caching", "--disable-uvicorn-access-log"),
    ]


def test_every_field_of_the_config_has_a_place() -> None:
    assert set(_vllm_flags._FLAGS) | {"extra_flags"} == set(ServingConfig.model_fields)


def test_a_cpu_has_no_gpu_memory_and_false_is_not_said() -> None:
    words = flags(device="cpu", enforce_eager=False)
    assert "--gpu-memory-utilization" not in words
    assert "--enforce-eager" not in words


def test_booleans_and_values_of_extra_flags() -> None:
    words = flags(
        ("async_scheduling", False), ("enable_chunked_prefill", True), ("kv-cache-dtype", "fp8"),
        ("num-gpu-blocks-override", 64), ("--compilation-config", '{"level": 3}'),
    )  # fmt: skip
    assert words[-5:] == [
        "--no-async-scheduling",
        "--enable-chunked-prefill",
        "--kv-cache-dtype=fp8",
        "--num-gpu-blocks-override=64",
        '--compilation-config={"level": 3}',
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (("enable_prefix_caching", True), "--enable-prefix-caching"),
        (("enable-prefix-caching", False), "--no-enable-prefix-caching"),
        (("no-enable-prefix-caching", True), "--no-enable-prefix-caching"),
    ],
)
def test_prefix_caching_is_off_unless_the_caller_speaks_of_it(
    said: tuple[str, bool], expected: str
) -> None:
    assert [word for word in flags(said) if "prefix-caching" in word] == [expected]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensor_parallel_size", "'tensor_parallel' of the serving config"),
        ("no-enforce-eager", "'enforce_eager' of the serving config"),
        ("host", "set by OptiKIT"),
        ("--api-key", "set by OptiKIT"),
        ("config", "set by OptiKIT"),
        ("trust_remote_code", "foreign code"),
        ("trust-remote", "foreign code"),  # the parser takes beginnings of names
        ("worker-extension-cls", "foreign code"),
        ("Middleware", "foreign code"),
        ("max len", "no flag name"),
        ("x=--host", "no flag name"),
    ],
)
def test_flags_that_are_not_the_callers(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        flags((name, "1"))


def test_a_longer_name_than_a_refused_one_is_allowed() -> None:
    assert "--config-format=hf" in flags(("config-format", "hf"))


@given(st.text("abcdefgh-_.XY= \n\0\"';$", max_size=20), st.text(max_size=20))
def test_an_extra_flag_is_one_word_that_begins_with_dashes_or_is_refused(
    name: str, value: str
) -> None:
    try:
        words = flags((name, value))
    except BadInput:
        return
    assert words[:-1] == flags()
    assert words[-1].startswith("--")
    assert words[-1].partition("=")[2] == value
