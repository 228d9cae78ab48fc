from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.engines import _vllm_flags
from optikit.engines._vllm_flags import arguments, must_be_known
from optikit.engines._vllm_refused import REFUSED
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


def test_what_a_search_may_switch_on() -> None:
    words = flags(
        data_parallel=4,
        kv_cache_dtype="fp8",
        block_size=32,
        scheduling_policy="priority",
        speculative_ngram=3,
        enable_prefix_caching=True,
    )
    ngram = words[words.index("--speculative-config") + 1]
    assert json.loads(ngram) == {
        "method": "ngram",
        "num_speculative_tokens": 3,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 2,
    }
    assert words[words.index("0.85") + 1 :] == [
        *("--data-parallel-size", "4", "--kv-cache-dtype", "fp8", "--block-size", "32"),
        *("--scheduling-policy", "priority", "--speculative-config", ngram),
        *("--enable-prefix-caching", "--disable-uvicorn-access-log"),
    ]


def test_booleans_and_values_of_extra_flags() -> None:
    words = flags(
        ("async_scheduling", False), ("enable_chunked_prefill", True), ("swap-space", "fp8"),
        ("num-gpu-blocks-override", 64), ("--compilation-config", '{"level": 3}'),
    )  # fmt: skip
    assert words[-5:] == [
        "--no-async-scheduling",
        "--enable-chunked-prefill",
        "--swap-space=fp8",
        "--num-gpu-blocks-override=64",
        '--compilation-config={"level": 3}',
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensor_parallel_size", "'tensor_parallel' of the serving config"),
        ("no-enforce-eager", "'enforce_eager' of the serving config"),
        ("enable_prefix_caching", "'enable_prefix_caching' of the serving config"),
        ("no-enable-prefix-caching", "'enable_prefix_caching' of the serving config"),
        ("kv-cache-dtype", "'kv_cache_dtype' of the serving config"),
        ("speculative-config", "'speculative_ngram' of the serving config"),
        ("data-parallel-si", "'data_parallel' of the serving config"),  # takes beginnings too
        ("host", "set by OptiKIT"),
        ("--api-key", "set by OptiKIT"),
        ("config", "set by OptiKIT"),
        ("trust_remote_code", "model.trust_remote_code"),
        ("trust-remote", "model.trust_remote_code"),  # the parser takes beginnings of names
        ("worker-extension-cls", "foreign code"),
        ("Middleware", "foreign code"),
        ("max len", "no flag name"),
        ("x=--host", "no flag name"),
    ],
)
def test_flags_that_are_not_the_callers(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        flags((name, "1"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("kv-transfer-config.kv_connector_module_path", "evil", "foreign code"),
        ("kv_transfer_config", '{"kv_connector": "x"}', "foreign code"),
        ("logging-config.pylogging_config_file", "x.json", "foreign code"),
        ("compilation-config", '{"inductor_passes": {"a": "evil.run"}}', "'inductor_passes'"),
        ("compilation-config.backend", "evil.run", "'backend' can run foreign code"),
        ("compilation-config", '{"a": [{"cache_dir": "x"}]}', "'cache_dir' reads or writes"),
        ("structured-outputs-config", '{"reasoning_parser_plugin": "p.py"}', "foreign code"),
        ("hf-overrides", '{"auto_map": {"AutoModel": "m.M"}}', "'auto_map'"),
        ("tokenizer", "other", "certificate"),
        ("chat-template", "{{ x }}", "certificate"),
        ("download-dir", "x", "files of the machine"),
        ("root-path", "/v1", "who may use"),
        ("ssl-keyfile", "k", "who may use"),
        ("kv-events-config", "{}", "opens a port"),
        ("otlp-traces-endpoint", "http://x", "other machines"),
        ("allowed-media-domains", "x", "other machines"),
        ("hf-token", "hf_x", "secret"),
        ("enable-prompt-embeds", True, "tensors"),
        ("load-format", "pt", "allowed are auto, safetensors"),
        ("load-format", "tensorizer", "allowed are auto, safetensors"),
        ("generation-config", "/etc", "allowed are auto, vllm"),
        ("distributed-executor-backend", "evil.Executor", "allowed are mp, uni"),
        ("some-new-flag", "/etc/passwd", "looks like a path"),
        ("some-new-flag", '{"a": [{"b": "~root/x"}]}', "looks like a path"),
        ("some-new-flag", "http://elsewhere", "looks like a path or an address"),
    ],
)
def test_flags_and_values_that_open_a_door(name: str, value: Flag, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        flags((name, value))


def test_flags_beside_the_refused_ones_stay_free() -> None:
    free: list[tuple[str, Flag]] = [
        ("reasoning-parser", "qwen3"),
        ("load-format", "dummy"),
        ("compilation-config", '{"mode": 3, "backend": "inductor", "custom_ops": ["+rms_norm"]}'),
        ("hf-overrides", '{"rope_scaling": {"factor": 2.0}}'),
        ("tokenizer-mode", "hf"),
    ]
    assert len(flags(*free)) == len(flags()) + len(free)


def test_every_refusal_has_its_reason() -> None:
    assert len(REFUSED) > 80
    assert all(why.strip() and not why.endswith(".") for why in REFUSED.values())


def test_a_models_own_code_is_a_field_of_the_config() -> None:
    assert "--trust-remote-code" in flags(trust_remote_code=True)
    assert "--trust-remote-code" not in flags()


def test_a_longer_name_than_a_refused_one_is_allowed() -> None:
    assert "--config-format=hf" in flags(("config-format", "hf"))
    assert "--kv-cache-dtype-skip-layers=1" in flags(("kv-cache-dtype-skip-layers", 1))


KNOWN = ("swap-space", "async-scheduling", "compilation-config", "max-loras", "max-lora-rank")


@pytest.mark.parametrize(
    "name",
    ["swap_space", "no-async-scheduling", "compilation-config.level", "swap-sp", "--max-loras"],
)
def test_a_flag_that_vllm_knows(name: str) -> None:
    serving = SERVING.model_copy(update={"extra_flags": ((name, 1),)})
    must_be_known(serving, KNOWN)
    must_be_known(serving, ())  # nothing was read: nothing is refused


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swop-space", "'swop-space' is unknown to the installed vLLM; did you mean 'swap-space'"),
        ("max-lo", "'max-lo' is unknown"),  # the beginning of two
        ("qqq", "--help=all"),
    ],
)
def test_a_flag_that_vllm_does_not_know(name: str, said: str) -> None:
    serving = SERVING.model_copy(update={"extra_flags": (("swap-space", 1), (name, 1))})
    with pytest.raises(BadInput, match=said):
        must_be_known(serving, KNOWN)


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
