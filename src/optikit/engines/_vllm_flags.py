"""A serving config as vLLM's command-line arguments: the one table between the two. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from optikit.errors import BadInput
from optikit.spec.serving import Flag, ServingConfig
from optikit.spec.sku import DeviceKind

__all__ = ["arguments"]

_FLAGS: Mapping[str, str] = {
    "tensor_parallel": "tensor-parallel-size",
    "max_num_seqs": "max-num-seqs",
    "max_num_batched_tokens": "max-num-batched-tokens",
    "max_model_len": "max-model-len",
    "dtype": "dtype",
    "enforce_eager": "enforce-eager",
    "gpu_memory_utilization": "gpu-memory-utilization",
}
"""Fields of ServingConfig and the flags they become: the whole mapping."""

_NOT_ON = {"cpu": {"gpu_memory_utilization"}, "gpu": set[str]()}
_UNLESS_SAID: Mapping[str, Flag] = {
    "enable-prefix-caching": False,  # a warm cache makes repeated prompts look fast
    "disable-uvicorn-access-log": True,
}
_OURS = {"model", "served-model-name", "host", "port", "uds", "api-key", "config"}
_UNSAFE = {
    "trust-remote-code",
    "middleware",
    "tool-parser-plugin",
    "reasoning-parser-plugin",
    "logits-processors",
    "worker-cls",
    "worker-extension-cls",
    "scheduler-cls",
    "allowed-local-media-path",
}
_FLAG_NAME = re.compile(r"[a-z][a-z0-9.-]*")


def _flag(name: str, value: Flag) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


def _extra_flags(serving: ServingConfig) -> dict[str, Flag]:
    """The caller's flags by vLLM's spelling.

    Raises:
        BadInput: a flag that has a field of its own, is set by OptiKIT, or would run code.
    """
    flags: dict[str, Flag] = {}
    owners = {flag: field for field, flag in _FLAGS.items()}
    for given, value in serving.extra_flags:
        name = given.lstrip("-").lower().replace("_", "-")
        bare = name.removeprefix("no-")
        if not _FLAG_NAME.fullmatch(name):
            raise BadInput(f"engine flag {given!r} is no flag name; write it as 'swap-space'")
        if bare in owners:
            raise BadInput(f"engine flag {given!r}: set '{owners[bare]}' of the serving config")
        # The parser takes any unambiguous beginning of a name.
        refused = next((word for word in _OURS | _UNSAFE if word.startswith(bare)), None)
        if refused in _OURS:
            raise BadInput(f"engine flag {given!r} is set by OptiKIT; leave it out")
        if refused is not None:
            raise BadInput(f"engine flag {given!r} is refused: '{refused}' can run foreign code")
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
        if field in _NOT_ON[device] or value is False:
            continue
        words += [f"--{flag}"] if value is True else [f"--{flag}", str(value)]
    extra = _extra_flags(serving)
    for flag, value in _UNLESS_SAID.items():
        if flag not in extra and f"no-{flag}" not in extra:
            words.append(_flag(flag, value))
    return words + [_flag(name, value) for name, value in extra.items()]
