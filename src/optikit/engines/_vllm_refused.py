"""Flags of vLLM that a job may not set, each with its reason, and values that no flag may have.

Looked through with vLLM 0.32 (its 317 flags; tests/integration/test_engine_flags.py holds the list
against the installed one). A job's flags come from whoever wrote the spec: they must not run code,
read or write files, listen, connect, or say another model than the one that is measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from optikit.errors import BadInput
from optikit.spec.serving import Flag

__all__ = ["REFUSED", "check_flag"]

_OURS = "is set by OptiKIT; leave it out"
_CODE = "can run foreign code"
_MODEL = "names files beside the model, whose content no digest and no certificate covers"
_FILES = "reads or writes files of the machine"
_LISTENS = "opens a port or an endpoint beyond the one that is measured"
_CONNECTS = "lets the server connect to other machines"
_WEAKENS = "changes who may use the server, or what a request may do"
_SECRET = "holds a secret, which would be kept in the archive"  # noqa: S105
_DEVICES = "chooses devices; the job's are reserved for it"
_UNPICKLES = "opens tensors that a request brings along"

_BY_REASON: Mapping[str, tuple[str, ...]] = {
    _OURS: (
        *("model", "served-model-name", "host", "port", "uds", "api-key", "config", "headless"),
        "api-server-count",
    ),
    "is asked for with model.trust_remote_code": ("trust-remote-code",),
    _CODE: (
        # modules, classes and functions by name or file
        *("middleware", "tool-parser-plugin", "reasoning-parser-plugin", "io-processor-plugin"),
        *("logits-processors", "worker-cls", "worker-extension-cls", "scheduler-cls"),
        *("model-class-overrides", "kv-transfer-config", "ec-transfer-config"),
        *("ec-manager-config", "weight-transfer-config", "additional-config"),
        # Python's dictConfig makes objects of any class
        *("log-config-file", "logging-config"),
        # runs commands, or tools of a server
        *("ray-workers-use-nsight", "tool-server"),
    ),
    _MODEL: (
        *("tokenizer", "hf-config-path", "lora-modules", "default-mm-loras", "chat-template"),
        *("spec-model", "spec-method", "spec-tokens", "revision", "code-revision"),
        *("tokenizer-revision", "model-loader-extra-config"),
    ),
    _FILES: (
        *("download-dir", "allowed-local-media-path", "profiler-config"),
        *("mm-encoder-fp8-scale-path", "mm-encoder-fp8-scale-save-path", "engram-config"),
    ),
    _LISTENS: (
        *("grpc", "grpc-port", "kv-events-config", "data-parallel-supervisor-port"),
        *("data-parallel-rpc-port", "master-port", "enable-scale-out", "tokens-only"),
        *("enable-tokenizer-info-endpoint", "enable-offline-docs", "enable-elastic-ep"),
        *("enable-fault-tolerance", "fault-tolerance-config"),
    ),
    _CONNECTS: (
        *("otlp-traces-endpoint", "allowed-media-domains", "master-addr", "nnodes", "node-rank"),
        *("data-parallel-address", "data-parallel-backend", "data-parallel-external-lb"),
        *("data-parallel-hybrid-lb", "data-parallel-multi-port-external-lb"),
        *("data-parallel-rank", "data-parallel-start-rank", "data-parallel-size-local"),
    ),
    _WEAKENS: (
        *("root-path", "allow-credentials", "allowed-origins", "allowed-methods"),
        *("allowed-headers", "ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs"),
        *("ssl-ciphers", "enable-ssl-refresh", "trust-request-chat-template"),
        *("trust-request-mm-kwargs", "fail-on-environ-validation"),
    ),
    _SECRET: ("hf-token", "watermark-config"),
    _DEVICES: ("device-ids",),
    _UNPICKLES: ("enable-prompt-embeds", "enable-mm-embeds"),
}
REFUSED: Mapping[str, str] = {flag: why for why, flags in _BY_REASON.items() for flag in flags}
"""Flag to reason. ``root-path`` alone would do: vLLM takes it off before it asks for the key."""

_ONLY: Mapping[str, tuple[str, ...]] = {
    # the others unpickle, fetch from a server, or open another model than the one measured
    "load-format": ("auto", "safetensors", "fastsafetensors", "instanttensor", "dummy"),
    "generation-config": ("auto", "vllm"),  # else a folder
    "distributed-executor-backend": ("mp", "uni"),  # else a class, or a Ray cluster
}
_KEYS: Mapping[str, str] = {
    "backend": _CODE,
    "inductor-passes": _CODE,
    "inductor-compile-config": _CODE,
    "reasoning-parser-plugin": _CODE,
    "auto-map": _CODE,
    "trust-remote-code": _CODE,
    "cache-dir": _FILES,
    "local-cache-dir": _FILES,
    "debug-dump-path": _FILES,
}
"""Keys inside a flag's JSON value, and behind a flag's dot, that are refused."""
_WHOLE = ("reasoning-parser",)
"""Flags that are the beginning of a refused one, and harmless."""
_BACKENDS = ("", "auto", "eager", "inductor", "xgrammar", "guidance", "outlines")
"""Values of a key ``backend`` that name no module."""
_PATH = re.compile(r"[/\\]|^~|^\.|^file:")


def check_flag(given: str, name: str, value: Flag) -> None:
    """Hold one flag against the tables.

    Args:
        given: as the caller wrote it, for the message.
        name: in vLLM's spelling, without dashes in front.

    Raises:
        BadInput: the flag, a key inside it or its value is refused; says why.
    """
    first, _, rest = name.partition(".")
    bare = first.removeprefix("no-")
    # the parser takes any unambiguous beginning of a name
    refused = next((word for word in REFUSED if word.startswith(bare)), None)
    if refused is not None and bare not in _WHOLE:
        why = REFUSED[refused]
        raise BadInput(
            f"engine flag {given!r} {why}"
            if why == _OURS
            else f"engine flag {given!r} is refused: '{refused}' {why}"
        )
    only = next((values for word, values in _ONLY.items() if word.startswith(bare)), None)
    if only is not None and str(value).lower() not in only:
        raise BadInput(f"engine flag {given!r}: found {value!r:.80}; allowed are {', '.join(only)}")
    whole = _json(value) if isinstance(value, str) else value
    for key in reversed(rest.split(".") if rest else []):
        whole = {key: whole}
    for key, inner in _leaves(whole):
        spelt = key.lower().replace("_", "-")
        harmless = spelt == "backend" and str(inner) in _BACKENDS
        if spelt in _KEYS and not harmless:
            raise BadInput(f"engine flag {given!r} is refused: its key '{key}' {_KEYS[spelt]}")
        if isinstance(inner, str) and _PATH.search(inner):
            raise BadInput(
                f"engine flag {given!r}: {inner!r:.80} looks like a path or an address; a server "
                "gets its files from the job's own keys (model, dataset) alone"
            )


def _json(value: str) -> Any:
    """The value as vLLM would read it where it takes JSON; else the text itself."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with what stands under it, at any depth."""
    todo = [(key, value)]
    while todo:
        name, inner = todo.pop()
        yield name, inner
        if isinstance(inner, dict):
            todo += [(str(word), each) for word, each in inner.items()]
        elif isinstance(inner, list):
            todo += [(name, each) for each in inner]
