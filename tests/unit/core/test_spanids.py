"""The ids that log records carry are those of the trace."""

from __future__ import annotations

from typing import Any

from optikit.core.spanids import span_now
from optikit.core.spans import spans_of


def event(number: int, kind: str, **facts: Any) -> dict[str, Any]:
    return {"t": 1000.0 + number, "up": float(number), "boot": "b", "kind": kind, **facts}


EVENTS = [
    event(0, "created"),
    event(1, "state", state="running"),
    event(2, "stage", stage="tune", state="running"),
    event(3, "trial_started", trial="t0"),
    event(4, "placed", trial="t0", node="n"),
    event(5, "attempt_failed", what="trial t0", attempt=1, error="died"),
    event(6, "placed", trial="t0", node="n"),
    event(7, "trial_started", trial="t1"),
    event(8, "trial", trial={"id": "t0", "state": "complete"}),
    event(9, "stage", stage="tune", state="done"),
    event(10, "stage", stage="tune", state="running"),
    event(11, "trial_started", trial="t0"),
]
WHOLE = {(s.name, s.attributes.get("optikit.stage.run")): s for s in spans_of("j1", EVENTS)}


def test_ids_stay_what_they_are_when_more_is_written() -> None:
    assert span_now("j1", EVENTS[:2]) == (WHOLE["job", None].span_id, 0)
    assert span_now("j1", EVENTS[:3], stage="tune")[0] == WHOLE["stage tune", 1].span_id
    assert span_now("j1", EVENTS, stage="tune")[0] == WHOLE["stage tune", 2].span_id


def test_a_trials_attempts_are_counted_and_a_second_run_is_another_span() -> None:
    before, _ = span_now("j1", EVENTS[:4], trial="t0")
    again, attempts = span_now("j1", EVENTS[:6], trial="t0")
    assert (before, attempts) == (again, 1)
    assert span_now("j1", EVENTS[:7], trial="t0") == (before, 2)
    other, attempts = span_now("j1", EVENTS, trial="t0")
    assert (other == before, attempts) == (False, 0)
    assert span_now("j1", EVENTS, trial="t1")[0] not in (before, other)


def test_what_is_not_there_has_none() -> None:
    assert span_now("j1", [], stage="tune") == (None, 0)
    assert span_now("j1", EVENTS, trial="t9") == (None, 0)
