"""How SGLang's log speaks of a failure; ``_log.py`` reads it. Pure."""

from __future__ import annotations

import re

from optikit.engines._log import NO_KERNEL, Cause, LogReader, cause

__all__ = ["CAUSES", "LOG"]

CAUSES: tuple[Cause, ...] = (
    cause(
        "port in use",
        r"address already in use|port is already in use|port \d+ is (not available|in use)",
        "choose another engine.port, or leave it out for a free one",
    ),
    cause(
        "illegal flag",
        r"error: (unrecognized arguments|ambiguous option|argument [^:\n]+:|the following arg)"
        r"|unsupported config option",
        "correct engine.flags; `--help` of `python -m sglang.launch_server` lists what this "
        "version takes",
    ),
    cause(
        "out of memory",
        r"out ?of ?memory|not enough memory|cannot allocate memory|can't allocate memory|bad_alloc"
        r"|\bMemoryError",
        "lower gpu_memory_utilization (--mem-fraction-static: weights and KV cache alone), "
        "max_num_batched_tokens or max_num_seqs, or use more devices",
    ),
    cause(
        NO_KERNEL,
        r"no compressed-tensors compatible scheme|quantization scheme is not supported"
        r"|no kernel image|\bNotImplementedError|unknown quantization method"
        r"|minimum capability|requires compute capability|is not supported (on|for|by|with)"
        r"|does not support|Other method \(CompressedTensors",
        "this checkpoint's scheme cannot run on this device; choose another recipe",
    ),
    cause(
        "illegal value",
        r"\bAssertionError|\bValueError: .*(must|should|greater|less|divisible|at least)",
        "correct the serving values named below",
    ),
    cause(
        "unreadable model",
        r"\bSafetensorError|incomplete metadata|cannot find any model weights"
        r"|no such file or directory.*(safetensors|config\.json|tokenizer)|can't load tokenizer"
        r"|model architectures? .* (are|is) not supported|\bKeyError: '?(model|layers)\b",
        "the model folder is damaged or of an architecture this SGLang does not know",
    ),
)

_STAMP = re.compile(r"^\[\d{4}-\d\d-\d\d [\d:]+( [A-Z]+\d+)*\] ?(?P<level>)")
"""SGLang's lines carry a time and a rank, and no level."""
_NOISE = re.compile(
    r"^(\s*$|\s{3,}|  File |\s*[\^~]+\s*$|Traceback \(most|The above exception|During handling"
    r"|\s*warnings\.warn|.*(Deprecation|User|Future)Warning|INFO:|usage: |server_args="
    r"|\[W\d|\[Gloo\]|Loading safetensors|.*it/s\]|.*% Completed|Received sigquit from a child"
    r"|Init torch distributed|Load weight (begin|end)|Capture cuda graph|max_total_num_tokens="
    r"|Killed$)"
)

LOG = LogReader(CAUSES, _STAMP, _NOISE)
