"""How vLLM's log speaks of a failure; ``_log.py`` reads it. Pure."""

from __future__ import annotations

import re

from optikit.engines._log import NO_KERNEL, Cause, LogReader, cause

__all__ = ["CAUSES", "LOG"]

CAUSES: tuple[Cause, ...] = (
    cause(
        "port in use",
        r"address already in use",
        "choose another engine.port, or leave it out for a free one",
    ),
    cause(
        "illegal flag",
        r"error: (unrecognized arguments|ambiguous option|argument [^:\n]+:|the following arg)",
        "correct engine.flags; `--help=all` of vLLM's server lists what this version takes",
    ),
    cause(
        "out of memory",
        r"out ?of ?memory|cannot allocate memory|can't allocate memory|bad_alloc|\bMemoryError"
        r"|available memory on node|no available memory for the cache blocks"
        r"|(larger|less) than (the )?(available|needed) kv cache memory"
        r"|free memory on device|(larger|less) than requested memory|available kv cache memory \(",
        "lower max_model_len or max_num_seqs, use more devices, or (on a CPU) change "
        "VLLM_CPU_KVCACHE_SPACE, in GiB that are free",
    ),
    cause(
        NO_KERNEL,
        r"has no attribute '?cpu_gemm|expected at most \d+ argument\(s\) but received"
        r"|_C' object has no attribute|unsupported cpu attention"
        r"|no kernel image|could not run '[^']+' with arguments from|failed to find a kernel"
        r"|no valid kernel|\bNotImplementedError|is not supported (on|for|by|with)"
        r"|does not support|unknown quantization method|minimum capability",
        "this checkpoint's scheme cannot run on this device; choose another recipe",
    ),
    cause(
        "illegal value",
        r"validation errors? for (\w*Config|\w*EngineArgs)"
        r"|\bValueError: .*(must|should|greater|less)",
        "correct the serving values named below",
    ),
    cause(
        "unreadable model",
        r"safetensors_rust\.SafetensorError|\bSafetensorError|incomplete metadata"
        r"|no such file or directory.*(safetensors|config\.json|tokenizer)|can't load tokenizer"
        r"|cannot find any model weights|following weights were not initialized"
        r"|model architectures .* are not supported|\bKeyError: '?(model|layers)\b",
        "the model folder is damaged or of an architecture this vLLM does not know",
    ),
)

_STAMP = re.compile(
    r"^(\([^)]*pid=\d+\) )?"
    r"((?P<level>ERROR|WARNING|INFO|DEBUG|CRITICAL) \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?"
)
_NOISE = re.compile(
    r"^(\s*$|\s{3,}|  File |\s*[\^~]+\s*$|Traceback \(most|The above exception|During handling"
    r"|\s*warnings\.warn|.*(Deprecation|User|Future)Warning|nanobind:| - (leaked|\.\.\.)"
    r"|See https://nanobind|Loading safetensors|INFO:|usage: |\[shutdown\]|\[W\d"
    r"|Triton is (not )?installed|  if hasattr\(|  wrapper = |Dumping |AsyncLLM output_handler"
    r"|\s*For further information|.*% Completed|.*See (root cause|stack trace)"
    r"|.*see the stack trace above)"
)

LOG = LogReader(CAUSES, _STAMP, _NOISE)
