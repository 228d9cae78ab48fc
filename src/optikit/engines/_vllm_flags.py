"""A serving config as vLLM's command-line arguments: the one table between the two. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from optikit.engines._vllm_refused import REFUSED, check_flag
from optikit.errors import BadInput, nearest
from optikit.spec.serving import Flag, ServingConfig
from optikit.spec.sku import DeviceKind

__all__ = ["arguments", "must_be_known"]

_FLAGS: Mapping[str, str] = {
    "tensor_parallel": "tensor-parallel-size",
    "max_num_seqs": "max-num-seqs",
    "max_num_batched_tokens": "max-num-batched-tokens",
    "max_model_len": "max-model-len",
    "dtype": "dtype",
    "enforce_eager": "enforce-eager",
    "gpu_memory_utilization": "gpu-memory-utilization",
    "data_parallel": "data-parallel-size",
    "kv_cache_dtype": "kv-cache-dtype",
    "block_size": "block-size",
    "scheduling_policy": "scheduling-policy",
    "speculative_ngram": "speculative-config",
    "enable_prefix_caching": "enable-prefix-caching",
    "trust_remote_code": "trust-remote-code",
}
"""Fields of ServingConfig and the flags they become: the whole mapping."""
_UNSAID: Mapping[str, object] = {
    "data_parallel": 1,
    "kv_cache_dtype": "auto",
    "block_size": None,
    "scheduling_policy": "fcfs",
    "speculative_ngram": 0,
}
"""vLLM's own defaults, which are not said."""
_LOOKUP_MIN, _LOOKUP_MAX = 2, 4
"""Length of the n-grams that are looked up in the request's own tokens. vLLM 0.32 takes 5 and 5;
shorter ones are found more often, and single tokens propose mostly wrong continuations."""

_NOT_ON = {"cpu": {"gpu_memory_utilization"}, "gpu": set[str]()}
_UNLESS_SAID: Mapping[str, Flag] = {"disable-uvicorn-access-log": True}
_SAID = object()
_FLAG_NAME = re.compile(r"[a-z][a-z0-9.-]*")


def _flag(name: str, value: Flag) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


def _ngram(tokens: int) -> str:
    """vLLM's speculative config: ``tokens`` proposed a step from n-grams seen before."""
    config = {
        "method": "ngram",
        "num_speculative_tokens": tokens,
        "prompt_lookup_max": _LOOKUP_MAX,
        "prompt_lookup_min": _LOOKUP_MIN,
    }
    return json.dumps(config, separators=(",", ":"))


def must_be_known(serving: ServingConfig, known: Collection[str]) -> None:
    """Hold the extra flags against the names that vLLM knows, as its parser would.

    Args:
        known: without dashes in front; empty: they could not be read, nothing is refused.

    Raises:
        BadInput: one of them is none, or the beginning of several.
    """
    for name in _extra_flags(serving) if known else ():
        bare = name.partition(".")[0]  # --compilation-config.level sets a key of a JSON flag
        bare = bare if bare in known else bare.removeprefix("no-")
        if bare not in known and sum(word.startswith(bare) for word in known) != 1:
            close = nearest(bare, known).partition("Known:")[0] or "see `--help=all` of its server"
            raise BadInput(
                f"engine flag {name!r} is unknown to the installed vLLM; {close.strip()}"
            )


def _extra_flags(serving: ServingConfig) -> dict[str, Flag]:
    """The caller's flags by vLLM's spelling.

    Raises:
        BadInput: a flag that has a field of its own, or that a job may not set
            (engines/_vllm_refused.py).
    """
    flags: dict[str, Flag] = {}
    owners = {flag: field for field, flag in _FLAGS.items() if flag not in REFUSED}
    for given, value in serving.extra_flags:
        name = given.lstrip("-").lower().replace("_", "-")
        bare = name.partition(".")[0].removeprefix("no-")
        if not _FLAG_NAME.fullmatch(name):
            raise BadInput(f"engine flag {given!r} is no flag name; write it as 'swap-space'")
        # The parser takes any unambiguous beginning of a name.
        owner = next((field for flag, field in owners.items() if flag.startswith(bare)), None)
        if owner is not None:
            raise BadInput(f"engine flag {given!r}: set '{owner}' of the serving config")
        check_flag(given, name, value)
        flags[name] = value
    return flags


def arguments(serving: ServingConfig, device: DeviceKind) -> list[str]:
    """Every argument that follows from ``serving``, in an order that never changes.

    Raises:
        BadInput: a flag that is not the caller's to set.
    """
    words: list[str] = []
    for field, flag in _FLAGS.items():
        value = getattr(serving, field)
        if field == "enable_prefix_caching":  # said in any case: vLLM's own default is on
            words.append(_flag(flag, value))
            continue
        if field in _NOT_ON[device] or value is False or _UNSAID.get(field, _SAID) == value:
            continue
        if field == "speculative_ngram":
            value = _ngram(value)
        words += [f"--{flag}"] if value is True else [f"--{flag}", str(value)]
    extra = _extra_flags(serving)
    for flag, value in _UNLESS_SAID.items():
        if flag not in extra and f"no-{flag}" not in extra:
            words.append(_flag(flag, value))
    return words + [_flag(name, value) for name, value in extra.items()]
