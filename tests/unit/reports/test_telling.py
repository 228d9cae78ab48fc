from __future__ import annotations

from typing import Any

import pytest

from optikit.reports.telling import told

SERVING = {"tensor_parallel": 2, "max_num_seqs": 8, "max_num_batched_tokens": 512}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"kind": "stage", "stage": "tune", "state": "running"}, "stage tune: running"),
        (
            {"kind": "trial_started", "trial": "t0", "variant": "baseline", "serving": SERVING},
            "  trial t0 (baseline): TP 2, max_num_seqs 8, max_num_batched_tokens 512",
        ),
        ({"kind": "probe", "probe": {"phase": "warmup"}}, ""),
        (
            {
                "kind": "probe",
                "probe": {
                    "phase": "scan",
                    "rate_rps": None,
                    "concurrency": 4,
                    "verdict": "pass",
                    "reason": "it held",
                },
            },
            "    probe closed loop of 4: pass (it held)",
        ),
        ({"kind": "trial", "trial": {"id": "t0", "rate": None, "error": "gone"}},
         "  trial t0: failed (gone)"),
        (
            {"kind": "trial", "trial": {"id": "t0", "rate": {"outcome": "pass", "rate_rps": 3.14}}},
            "  trial t0: 3.14 req/s",
        ),
        (
            {"kind": "attempt_failed", "what": "t0", "attempt": 1, "error": "one\ntwo"},
            "  t0: attempt 1 failed (one)",
        ),
        ({"kind": "record", "record": {}}, ""),
    ],
)  # fmt: skip
def test_an_event_in_words(event: dict[str, Any], line: str) -> None:
    assert told(event) == line


def test_a_server_elsewhere_is_as_it_is() -> None:
    event = {"kind": "trial_started", "trial": "b0", "variant": "baseline", "serving": SERVING}
    assert told(event, elsewhere=True) == "  trial b0 as the server is"
