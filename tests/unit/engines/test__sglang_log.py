from __future__ import annotations

import pytest

from optikit.engines._sglang_log import CAUSES, LOG

# Written after the messages in the sources of SGLang 0.5.23.
EXAMPLES = {
    "port in use": "OSError: [Errno 98] Address already in use",
    "illegal flag": "sglang serve: error: argument --attention-backend: invalid choice: 'x'",
    "out of memory": "[2026-10-30 09:00:00 TP0] Scheduler hit an exception: RuntimeError: Not "
    "enough memory. Please try to increase --mem-fraction-static.",
    "no kernel": "NotImplementedError: No compressed-tensors compatible scheme was found.",
    "illegal value": "AssertionError: chunked_prefill_size must be divisible by page_size",
    "unreadable model": "safetensors_rust.SafetensorError: Error while deserializing header",
}
CLASSES = {"illegal value": "illegal flag", "port in use": "crash", "unreadable model": "crash"}


def test_every_cause_has_an_example() -> None:
    assert set(EXAMPLES) == {cause.name for cause in CAUSES}


@pytest.mark.parametrize(("name", "log"), EXAMPLES.items())
def test_causes_are_told_apart(name: str, log: str) -> None:
    assert LOG.explain(log, 1).startswith(f"likely cause: {name};")
    assert LOG.failure_of(log, 1) == CLASSES.get(name, name)


def test_a_log_that_only_says_what_it_does_names_no_cause() -> None:
    log = (
        "[2026-10-30 09:00:00] server_args={'mem_fraction_static': 0.9, 'x': 'out of memory'}\n"
        "[2026-10-30 09:00:09 TP0] Load weight begin. avail mem=78.58 GB\n"
    )
    assert LOG.cause_of(log) is None
    assert LOG.failure_of(log, None) == "timeout"


def test_stamps_and_frames_are_left_out() -> None:
    log = (
        "[2026-10-30 09:00:00 TP0] Scheduler hit an exception: Traceback (most recent call last):\n"
        '  File "a.py", line 1, in main\n'
        "    main()\n"
        "torch.OutOfMemoryError: CUDA out of memory.\n"
        "[2026-10-30 09:00:01] Received sigquit from a child process. It usually means the child "
        "failed.\n"
    )
    assert LOG.useful_lines(log)[-1] == "torch.OutOfMemoryError: CUDA out of memory."
    assert LOG.failure_of(log, 137) == "out of memory"
