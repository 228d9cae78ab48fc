"""A serving config as SGLang's command-line arguments: the one table between the two. Pure.

Read from the argument tables of SGLang 0.5.23. Its server has more than 500 flags, and many of them
read files, open ports or run code. So a job may set those that are named here and no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from optikit.errors import BadInput, nearest
from optikit.spec.serving import Flag, ServingConfig

__all__ = ["ALLOWED", "FLAGS", "arguments"]

FLAGS: Mapping[str, tuple[str, ...]] = {
    "tensor_parallel": ("tp-size",),
    "data_parallel": ("dp-size",),
    "max_num_seqs": ("max-running-requests",),
    "max_num_batched_tokens": ("chunked-prefill-size", "max-prefill-tokens"),
    "max_model_len": ("context-length",),
    "dtype": ("dtype",),
    "gpu_memory_utilization": ("mem-fraction-static",),
    "kv_cache_dtype": ("kv-cache-dtype",),
    "block_size": ("page-size",),
    "scheduling_policy": (
        *("schedule-policy", "enable-priority-scheduling"),
        "schedule-low-priority-values-first",
    ),
    "enforce_eager": ("disable-cuda-graph",),
    "enable_prefix_caching": ("disable-radix-cache",),
    "trust_remote_code": ("trust-remote-code",),
    "speculative_ngram": (),
}
"""Fields of ServingConfig and the flags they become: the whole mapping. A field without a flag is
refused where it asks for something."""
_ALIASES = {
    "tensor-parallel-size": "tensor_parallel",
    "data-parallel-size": "data_parallel",
    "attention-data-parallel-size": "data_parallel",
    "disable-decode-cuda-graph": "enforce_eager",
    "disable-prefill-cuda-graph": "enforce_eager",
    "cuda-graph-backend-decode": "enforce_eager",
    "cuda-graph-backend-prefill": "enforce_eager",
}
_KV = {"auto": "auto", "fp8": "fp8_e4m3"}

_SWITCHES = (
    *("enable-mixed-chunk", "enable-dynamic-chunking", "enable-prefill-delayer"),
    *("disable-overlap-schedule", "disable-chunked-prefix-cache", "disable-hybrid-swa-memory"),
    *("disable-cuda-graph-padding", "enable-cudagraph-gc", "enable-torch-compile"),
    *("disable-custom-all-reduce", "enable-nccl-nvls", "enable-symm-mem", "enable-mscclpp"),
    *("enable-torch-symm-mem", "enable-p2p-check", "pre-warm-nccl"),
    *("enable-two-batch-overlap", "enable-single-batch-overlap", "enable-dp-lm-head"),
    *("triton-attention-reduce-in-fp32", "flashinfer-mla-disable-ragged"),
    *("disable-flashinfer-autotune", "enable-deterministic-inference", "enable-fp32-lm-head"),
    *("weight-loader-disable-mmap", "weight-loader-prefetch-checkpoints", "sleep-on-idle"),
    *("skip-server-warmup", "enable-metrics", "enable-tokenizer-batch-encode"),
    "enable-hierarchical-cache",
)
_NUMBERS = (
    *("max-total-tokens", "max-queued-requests", "prefill-max-requests"),
    *("schedule-conservativeness", "num-continuous-decode-steps", "scheduler-recv-interval"),
    *("prefill-decode-interval", "swa-full-tokens-ratio", "stream-interval"),
    *("cuda-graph-max-bs-decode", "cuda-graph-max-bs-prefill", "torch-compile-max-bs"),
    *("triton-attention-num-kv-splits", "cpu-offload-gb", "hicache-ratio", "hicache-size"),
    *("ep-size", "moe-dense-tp-size", "tokenizer-worker-num", "detokenizer-worker-num"),
    *("weight-loader-prefetch-num-threads", "random-seed", "watchdog-timeout", "dist-timeout"),
    *("speculative-num-steps", "speculative-eagle-topk", "speculative-num-draft-tokens"),
    *("speculative-ngram-max-trie-depth", "speculative-ngram-max-bfs-breadth"),
    *("speculative-ngram-min-bfs-breadth", "speculative-ngram-capacity"),
)
_WORDS = (
    *("attention-backend", "prefill-attention-backend", "decode-attention-backend"),
    *("moe-runner-backend", "moe-a2a-backend", "load-balance-method", "radix-eviction-policy"),
    *("grammar-backend", "mamba-backend", "linear-attn-backend", "hicache-write-policy"),
    *("hicache-io-backend", "hicache-mem-layout", "speculative-algorithm", "sampling-defaults"),
)
ALLOWED: Mapping[str, str] = {
    **dict.fromkeys(_SWITCHES, "switch"),
    **dict.fromkeys(_NUMBERS, "number"),
    **dict.fromkeys(_WORDS, "word"),
}
"""Flags that a job may set, and what each takes."""
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_NO_DRAFT = ("NGRAM",)
"""Speculation without a second model, which no digest would cover."""


def arguments(serving: ServingConfig) -> list[str]:
    """Every argument that follows from ``serving``, in an order that never changes.

    Raises:
        BadInput: a field that SGLang has nothing for, values that exclude each other, or a flag
            that is not the caller's to set.
    """
    if serving.speculative_ngram:
        raise BadInput(
            f"speculative_ngram = {serving.speculative_ngram}: SGLang's n-gram speculation draws a "
            "tree, which a number of tokens does not describe. Leave it out of the space, or set "
            "speculative-algorithm: NGRAM and speculative-num-draft-tokens in engine.flags"
        )
    tokens, page = serving.max_num_batched_tokens, serving.block_size
    if page is not None and tokens % page:
        raise BadInput(
            f"block_size {page} does not divide max_num_batched_tokens {tokens}, which SGLang asks "
            "for; choose one that does"
        )
    words = ["--tp-size", str(serving.tensor_parallel)]
    if serving.data_parallel > 1:
        words += ["--dp-size", str(serving.data_parallel)]
    words += ["--max-running-requests", str(serving.max_num_seqs)]
    # a chunk is what one request may bring into a step, the other what the step may hold
    words += ["--chunked-prefill-size", str(tokens), "--max-prefill-tokens", str(tokens)]
    words += ["--context-length", str(serving.max_model_len), "--dtype", serving.dtype]
    words += ["--mem-fraction-static", str(serving.gpu_memory_utilization)]
    if serving.kv_cache_dtype != "auto":
        words += ["--kv-cache-dtype", _KV[serving.kv_cache_dtype]]
    if page is not None:
        words += ["--page-size", str(page)]
    words += ["--schedule-policy", "fcfs"]  # said in any case: it was another one before
    if serving.scheduling_policy == "priority":  # lower values first, as in vLLM
        words += ["--enable-priority-scheduling", "--schedule-low-priority-values-first"]
    for said, flag in (
        (serving.enforce_eager, "disable-cuda-graph"),
        (not serving.enable_prefix_caching, "disable-radix-cache"),
        (serving.trust_remote_code, "trust-remote-code"),
    ):
        words += [f"--{flag}"] if said else []
    return words + [word for name, value in serving.extra_flags for word in _extra(name, value)]


def _extra(given: str, value: Flag) -> list[str]:
    name = given.lstrip("-").lower().replace("_", "-")
    owner = _ALIASES.get(name) or next((f for f, flags in FLAGS.items() if name in flags), None)
    if owner is not None:
        raise BadInput(f"engine flag {given!r}: set '{owner}' of the serving config")
    kind = ALLOWED.get(name)
    if kind is None:
        close = nearest(name, ALLOWED).partition("Known:")[0]
        raise BadInput(
            f"engine flag {given!r} is none that a job may set on SGLang: many of its flags read "
            f"files, open ports or run code; {close}docs/howto/serve-with-sglang.md lists them"
        )
    if kind == "switch":
        if value is not True:
            raise BadInput(f"engine flag {given!r} is a switch; write true, or leave it out")
        return [f"--{name}"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "number" and not number:
        raise BadInput(f"engine flag {given!r} takes a number, found {value!r:.80}")
    if kind == "word" and not (isinstance(value, str) and _WORD.fullmatch(value)):
        raise BadInput(f"engine flag {given!r} takes one word, found {value!r:.80}")
    if name == "speculative-algorithm" and value not in _NO_DRAFT:
        raise BadInput(
            f"engine flag {given!r}: {value!r} needs a second model, whose content no digest and "
            f"no certificate covers; allowed is {', '.join(_NO_DRAFT)}"
        )
    return [f"--{name}", str(value)]
