from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from optikit.cli._follow import Progress
from tests.specs import small_plan

STARTED = {
    "kind": "trial_started",
    "trial": "t00-baseline",
    "variant": "baseline",
    "serving": {"tensor_parallel": 1, "max_num_seqs": 16, "max_num_batched_tokens": 512},
}


def shown(progress: Progress) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(progress.render())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def trial(rate: float | None, seconds: float = 30.0) -> dict[str, Any]:
    outcome = {"outcome": "pass" if rate else "infeasible", "rate_rps": rate, "reason": "slow"}
    return {
        "kind": "trial",
        "trial": {
            "id": "t00-baseline",
            "variant": "baseline",
            "rate": outcome,
            "error": None,
            "startup_s": seconds / 3,
            "measuring_s": seconds / 3,
            "teardown_s": seconds / 3,
        },
    }


def test_the_display_follows_the_events() -> None:
    plan = small_plan(flow_params={"num_trials": 3})
    progress = Progress(plan)
    assert "best so far: -" in shown(progress)
    progress.feed({"kind": "created", "t": 0.0})
    progress.feed({"kind": "stage", "stage": "tune", "state": "running"})
    progress.feed(STARTED)
    probe = {"phase": "open", "rate_rps": 4.0, "concurrency": None, "verdict": "pass", "reason": ""}
    progress.feed({"kind": "probe", "trial": "t00-baseline", "probe": probe})
    text = shown(progress)
    for word in ("▶ tune", "· publish", "max_num_seqs 16", "[0/4 ended]", "4 req/s: pass"):
        assert word in text
    progress.feed(trial(5.0))
    text = shown(progress)
    assert "best so far: 5 req/s by t00-baseline" in text
    assert "[1/4 ended]" in text
    assert "about 1 min 30 s" in text  # three more trials of 30 s


def test_lines_for_a_pipe() -> None:
    progress = Progress(small_plan())
    lines = []
    warmup = {"phase": "warmup", "rate_rps": None, "concurrency": 8, "verdict": "pass"}
    for event in (
        {"kind": "stage", "stage": "fetch", "state": "done", "seconds": 1.5},
        {"kind": "probe", "trial": "t", "probe": {**warmup, "reason": ""}},
        {"kind": "process_group", "group": {}},
        trial(None),
        {"kind": "attempt_failed", "what": "trial t", "attempt": 1, "error": "died\nlog"},
    ):
        progress.feed(event)
        lines.append(progress.line)
    assert lines == [
        "stage fetch: done in 1.5 s",
        "",
        "",
        "  trial t00-baseline: infeasible (slow)",
        "  trial t: attempt 1 failed (died)",
    ]


def test_the_corners_count_twice_where_both_variants_are_measured() -> None:
    plan = small_plan(flow="quantize_and_tune", flow_params={"num_trials": 3, "ablation": True})
    progress = Progress(plan)
    progress.feed(STARTED)
    assert "[0/8 ended]" in shown(progress)


def test_every_line_of_a_simulated_job_says_so() -> None:
    progress = Progress(small_plan().model_copy(update={"simulated": True}))
    progress.feed(STARTED)
    assert progress.line.startswith("SIMULATED: ")
    assert "SIMULATED: " in shown(progress)
    progress.feed({"kind": "reaped"})
    assert progress.line == "", "what is worth no line stays so"
