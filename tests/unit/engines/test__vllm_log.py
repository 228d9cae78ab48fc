from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.engines._vllm_log import CAUSES, LOG

EXAMPLES = {
    "illegal flag": "api_server.py: error: unrecognized arguments: --no-such-flag",
    "port in use": "OSError: [Errno 98] Address already in use",
    "no kernel": "(Worker pid=8) ERROR 11-24 09:07:31 [m.py:1063] RuntimeError: Unsupported CPU "
    "attention configuration: head_dim=16 isa=2 kv_cache_idx=0",
    "illegal value": "pydantic_core._pydantic_core.ValidationError: 1 validation error for "
    "VllmConfig\n  Value error, Total number of attention heads (4) must be divisible by tensor "
    "parallel size (3). [type=value_error]",
    "out of memory": "(Worker pid=8) ERROR 11-24 09:12:01 [m.py:1063] ValueError: Available memory "
    "on node 0 (10.78/11.96 GiB) on kv cache allocation is less than requested memory for kv",
    "unreadable model": "safetensors_rust.SafetensorError: Error while deserializing header",
}
MORE = [
    ("illegal flag", "api_server.py: error: argument --max-num-seqs: invalid int value: 'many'"),
    ("illegal value", "ValidationError: 1 validation error for SchedulerConfig\n  Value error, x"),
    ("no kernel", "AttributeError: '_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'"),
    ("no kernel", "RuntimeError: CUDA error: no kernel image is available for execution"),
    ("out of memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    ("out of memory", "ValueError: No available memory for the cache blocks. Try increasing it"),
    (
        "out of memory",
        "ValueError: To serve at least one request with the models's max seq len (2048), 0.12 GiB "
        "KV cache is needed, which is larger than the available KV cache memory (0.1 GiB).",
    ),
]


def test_every_cause_has_an_example() -> None:
    assert set(EXAMPLES) == {cause.name for cause in CAUSES}


@pytest.mark.parametrize(("name", "log"), [*EXAMPLES.items(), *MORE])
def test_causes_are_told_apart(name: str, log: str) -> None:
    assert LOG.explain(log, 1).startswith(f"likely cause: {name};")


CLASSES = {"illegal value": "illegal flag", "port in use": "crash", "unreadable model": "crash"}


@pytest.mark.parametrize(("name", "log"), [*EXAMPLES.items(), *MORE])
@pytest.mark.parametrize("code", [1, 137, None])
def test_the_class_follows_the_log_where_it_speaks(name: str, log: str, code: int | None) -> None:
    assert LOG.failure_of(log, code) == CLASSES.get(name, name)


@pytest.mark.parametrize(
    ("code", "found"), [(1, "crash"), (139, "crash"), (137, "out of memory"), (None, "timeout")]
)
def test_the_class_follows_the_code_where_the_log_is_silent(code: int | None, found: str) -> None:
    assert LOG.failure_of("INFO 11-24 09:07:18 [a.py:1] loading", code) == found


def test_the_flag_is_named() -> None:
    assert "--no-such-flag" in LOG.explain(EXAMPLES["illegal flag"], 2)


def test_a_warning_is_no_cause() -> None:
    log = "(APIServer pid=1) WARNING 11-24 09:07:25 [c.py:1] int4 is not supported on this CPU"
    assert LOG.explain(log, 1).startswith("likely cause: crash;")


@pytest.mark.parametrize(
    ("code", "name"), [(1, "crash"), (137, "killed (SIGKILL)"), (None, "slow start")]
)
def test_without_words_the_code_speaks(code: int | None, name: str) -> None:
    assert LOG.explain("", code).startswith(f"likely cause: {name};")


def test_useful_lines_leave_frames_notices_and_repeats_out() -> None:
    stamp = "(EngineCore pid=3) ERROR 11-24 09:07:31 [core.py:1512] "
    log = "\n".join(
        [
            "(APIServer pid=1) INFO 11-24 09:07:18 [api_utils.py:286] non-default args: {}",
            stamp + "Traceback (most recent call last):",
            stamp + '  File "/x/core.py", line 1, in f',
            stamp + "    return func(*args, **kwargs)",
            stamp + "           ^^^^^^^^^^^^^^^^^^^^^",
            stamp + "RuntimeError: the cause",
            "RuntimeError: the cause",
            "RuntimeError: Engine core initialization failed. See root cause above.",
            ' - leaked function "id"',
            "",
        ]
    )
    assert LOG.useful_lines(log) == ["RuntimeError: the cause"]


@given(st.text(), st.integers(1, 20))
def test_useful_lines_of_anything_are_few_and_short(log: str, count: int) -> None:
    lines = LOG.useful_lines(log, count, width=80)
    assert len(lines) <= count
    assert all(len(line) <= 80 for line in lines)
