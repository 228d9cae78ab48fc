"""What a vLLM log says about a failure: the likely cause, and the lines worth reading. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CAUSES", "NO_KERNEL", "Cause", "cause_of", "explain", "failure_of", "useful_lines"]

NO_KERNEL = "no kernel"

_SIGKILLED = 128 + 9


@dataclass(frozen=True)
class Cause:
    """A kind of failure: ``pattern`` finds it in the log, ``advice`` says what to do next."""

    name: str
    pattern: re.Pattern[str]
    advice: str


def _cause(name: str, pattern: str, advice: str) -> Cause:
    return Cause(name, re.compile(pattern, re.IGNORECASE), advice)


CAUSES: tuple[Cause, ...] = (
    _cause(
        "port in use",
        r"address already in use",
        "choose another engine.port, or leave it out for a free one",
    ),
    _cause(
        "illegal flag",
        r"error: (unrecognized arguments|ambiguous option|argument [^:\n]+:|the following arg)",
        "correct engine.flags; `--help=all` of vLLM's server lists what this version takes",
    ),
    _cause(
        "out of memory",
        r"out ?of ?memory|cannot allocate memory|can't allocate memory|bad_alloc|\bMemoryError"
        r"|available memory on node|no available memory for the cache blocks"
        r"|(larger|less) than (the )?(available|needed) kv cache memory"
        r"|free memory on device|(larger|less) than requested memory|available kv cache memory \(",
        "lower max_model_len or max_num_seqs, use more devices, or (on a CPU) change "
        "VLLM_CPU_KVCACHE_SPACE, in GiB that are free",
    ),
    _cause(
        NO_KERNEL,
        r"has no attribute '?cpu_gemm|expected at most \d+ argument\(s\) but received"
        r"|_C' object has no attribute|unsupported cpu attention"
        r"|no kernel image|could not run '[^']+' with arguments from|failed to find a kernel"
        r"|no valid kernel|\bNotImplementedError|is not supported (on|for|by|with)"
        r"|does not support|unknown quantization method|minimum capability",
        "this checkpoint's scheme cannot run on this device; choose another recipe",
    ),
    _cause(
        "illegal value",
        r"validation errors? for (\w*Config|\w*EngineArgs)"
        r"|\bValueError: .*(must|should|greater|less)",
        "correct the serving values named below",
    ),
    _cause(
        "unreadable model",
        r"safetensors_rust\.SafetensorError|\bSafetensorError|incomplete metadata"
        r"|no such file or directory.*(safetensors|config\.json|tokenizer)|can't load tokenizer"
        r"|cannot find any model weights|following weights were not initialized"
        r"|model architectures .* are not supported|\bKeyError: '?(model|layers)\b",
        "the model folder is damaged or of an architecture this vLLM does not know",
    ),
)
"""Looked for in this order; the first that is found is named."""

_CRASH = ("crash", "the whole log tells more")
_SLOW = ("slow start", "raise engine.start_timeout_s if the log shows progress")
_KILLED = (
    "killed (SIGKILL)",
    "if nobody did it by hand, the kernel ran out of memory: look at `dmesg`",
)
_CLASSES = {
    "out of memory": "out of memory",
    "illegal flag": "illegal flag",
    "illegal value": "illegal flag",
    NO_KERNEL: NO_KERNEL,
}
"""What a tuner learns from; the rest says nothing about a configuration: ``crash``."""
_STAMP = re.compile(
    r"^(\([^)]*pid=\d+\) )?((ERROR|WARNING|INFO|DEBUG|CRITICAL) \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?"
)
_NOISE = re.compile(
    r"^(\s*$|\s{3,}|  File |\s*[\^~]+\s*$|Traceback \(most|The above exception|During handling"
    r"|\s*warnings\.warn|.*(Deprecation|User|Future)Warning|nanobind:| - (leaked|\.\.\.)"
    r"|See https://nanobind|Loading safetensors|INFO:|usage: |\[shutdown\]|\[W\d"
    r"|Triton is (not )?installed|  if hasattr\(|  wrapper = |Dumping |AsyncLLM output_handler"
    r"|\s*For further information|.*% Completed|.*See (root cause|stack trace)"
    r"|.*see the stack trace above)"
)


def _told(log: str) -> list[str]:
    """Lines that say something: no stamps, stack frames, notices; of repeats the last."""
    kept: dict[str, None] = {}
    for raw in log.splitlines():
        stamp = _STAMP.match(raw)
        level = stamp[3] if stamp else None
        line = raw[stamp.end() :].rstrip() if stamp else raw
        if level in ("INFO", "DEBUG", "WARNING") or _NOISE.match(line):
            continue
        kept.pop(line, None)
        kept[line] = None
    return list(kept)


def useful_lines(log: str, count: int = 15, width: int = 400) -> list[str]:
    """The last ``count`` lines that say something, or the plain end where none does.

    >>> useful_lines("(W pid=1) ERROR 11-24 09:07:31 [a.py:1] RuntimeError: no\\nTraceback (most")
    ['RuntimeError: no']
    """
    lines = _told(log) or [line for line in log.splitlines() if line.strip()]
    return [line[:width] for line in lines[-count:]]


def cause_of(log: str) -> Cause | None:
    """The likely cause of a failure, None where the log names none that is known."""
    text = "\n".join(_told(log))
    return next((cause for cause in CAUSES if cause.pattern.search(text)), None)


def failure_of(log: str, code: int | None) -> str:
    """The class of a failure: out of memory, illegal flag, no kernel, timeout or crash.

    Args:
        code: the exit code, 128 + n after signal n; None: it still ran at its deadline.
    """
    found = cause_of(log)
    if found is not None:
        return _CLASSES.get(found.name, "crash")
    if code is None:
        return "timeout"
    return "out of memory" if code in (_SIGKILLED, -9) else "crash"


def explain(log: str, code: int | None) -> str:
    """Likely cause, what to do, and the useful end of the log, as the end of a message.

    Args:
        log: what the server wrote.
        code: its exit code, 128 + n after signal n; None while it runs.
    """
    found = cause_of(log)
    if found is not None:
        name, advice = found.name, found.advice
    elif code is None:
        name, advice = _SLOW
    else:
        name, advice = _KILLED if code == _SIGKILLED else _CRASH
    lines = "\n".join(f"  | {line}" for line in useful_lines(log))
    return f"likely cause: {name}; {advice}" + (f"\n{lines}" if lines else "")
