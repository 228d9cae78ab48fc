"""A journal as spans: nested, unique, the same again, at every moment of a job's life."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.spans import LONGEST, Span, spans_of, trace_id_of

WRITTEN = Path(__file__).parents[2] / "written" / "record-1" / "journal.jsonl"
JOB = "j20260101-000000-abcdef"


class Clock:
    """Writes events, each some time after the one before."""

    def __init__(self) -> None:
        self.at, self.events = 100.0, list[dict[str, Any]]()

    def say(self, kind: str, after: float = 1.0, **facts: Any) -> Clock:
        self.at += after
        self.events.append({"t": self.at, "up": self.at, "boot": "b", "kind": kind, **facts})
        return self

    def begun(self) -> Clock:
        return self.say("created").say("state", state="running", pid=1)

    def trial(self, name: str, **ended: Any) -> Clock:
        self.say("trial_started", trial=name, purpose="tune", variant="baseline")
        self.say("placed", trial=name, node="n1").say("engine_ready", 9.0, trial=name, startup_s=9)
        self.say("probe", 4.0, trial=name, probe={"number": 1, "verdict": "pass", "rate_rps": 2.0})
        self.say("probe", 5.0, trial=name, probe={"number": 2, "verdict": "fail"})
        facts = {"id": name, "state": "complete", "rate": {"outcome": "pass", "rate_rps": 2.0}}
        return self.say("trial", trial=facts | ended)


def valid(spans: Sequence[Span]) -> bool:
    """One root, unique ids, parents first, children within their parents, errors with a word."""
    known: dict[str, Span] = {}
    for span in spans:
        assert span.span_id not in known
        assert span.start_s <= span.end_s
        if span.parent_id is None:
            assert not known, "one root, and it comes first"
        else:
            parent = known[span.parent_id]
            assert parent.start_s <= span.start_s <= span.end_s <= parent.end_s, (parent, span)
        for value in span.attributes.values():
            assert not isinstance(value, str) or len(value) <= LONGEST
        assert span.error is None or 0 < len(span.error) <= LONGEST
        known[span.span_id] = span
    return True


def named(spans: Sequence[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def test_a_whole_job_is_a_tree_with_the_times_of_its_journal() -> None:
    clock = Clock().begun().say("stage", stage="tune", state="running")
    clock.trial("t00").say("teardown", stage="tune", workers_s=0.25, swept_s=0.25, returned_s=0.25)
    clock.say("stage", stage="tune", state="done").say("state", state="done", verdict="pass")
    spans = spans_of(JOB, clock.events, {"optikit.sku": "H100_2"})
    assert valid(spans)
    assert [span.name for span in spans] == [
        *("job", "stage tune", "trial", "engine start", "probe", "probe", "teardown")
    ]
    job, stage, trial, engine, first, second, teardown = spans
    assert (job.start_s, job.end_s, job.error) == (101.0, clock.at, None)
    assert job.attributes["optikit.sku"] == "H100_2"
    assert job.attributes["optikit.job.state"] == "done"
    assert (stage.parent_id, trial.parent_id) == (job.span_id, stage.span_id)
    assert {engine.parent_id, first.parent_id, second.parent_id} == {trial.span_id}
    assert engine.end_s - engine.start_s == 9.0
    assert engine.attributes["host.name"] == "n1"
    assert (first.start_s, first.end_s - first.start_s) == (engine.end_s, 4.0)
    assert (second.start_s, second.end_s - second.start_s) == (first.end_s, 5.0)
    assert trial.attributes["optikit.trial.rate_rps"] == 2.0
    assert teardown.end_s - teardown.start_s == 0.75
    assert {span.error for span in spans} == {None}


def test_a_failed_trial_and_a_failed_stage_are_errors_and_a_lost_slo_is_none() -> None:
    clock = Clock().begun().say("stage", stage="tune", state="running")
    clock.trial("t00", state="failed", error="out of memory", cause="oom", rate=None)
    clock.say("stage", stage="tune", state="failed", error="all failed", seconds=3.0)
    clock.say("state", state="failed", message="all failed")
    spans = spans_of(JOB, clock.events)
    assert valid(spans)
    (trial,), (stage,) = named(spans, "trial"), named(spans, "stage tune")
    assert (trial.error, trial.attributes["error.type"]) == ("out of memory", "oom")
    assert (stage.error, spans[0].error) == ("all failed", "all failed")
    lost = Clock().begun().say("state", state="negative", verdict="fail", message="no rate")
    assert spans_of(JOB, lost.events)[0].error is None


def test_a_killed_driver_ends_at_its_last_sign_of_life_and_a_resume_is_another_run() -> None:
    clock = Clock().begun().say("stage", stage="tune", state="running")
    clock.trial("t00").say("trial_started", trial="t01").say("placed", trial="t01")
    died = clock.at
    clock.say("note", 50.0, text="its driver died").say("state", 3600.0, state="starting")
    clock.say("state", state="running").say("stage", stage="tune", state="running")
    clock.trial("t01").say("stage", stage="tune", state="done").say("state", state="done")
    spans = spans_of(JOB, clock.events)
    assert valid(spans)
    first, second = named(spans, "stage tune")
    assert (first.error, first.end_s) == ("the driver died", died)
    assert [s.attributes["optikit.stage.run"] for s in (first, second)] == [1, 2]
    again = [s for s in named(spans, "trial") if s.attributes["optikit.trial.id"] == "t01"]
    assert [s.parent_id for s in again] == [first.span_id, second.span_id]
    assert [s.error for s in again] == ["the driver died", None]
    assert spans[0].error is None
    assert spans[0].end_s == clock.at


def test_a_stage_waits_in_the_queue_and_what_others_do_later_stretches_nothing() -> None:
    clock = Clock().begun()
    clock.say("stage_asked", key="j/tune-1", need={"team": "a", "devices": 2, "kind": "H100"})
    clock.say("stage_granted", 40.0, key="j/tune-1", node="n")
    clock.say("stage", stage="tune", state="running").say("stage", stage="tune", state="done")
    clock.say("stage_left", key="j/tune-1").say("state", state="done")
    ended = clock.at
    clock.say("collected", 1e6, artifacts=[])
    spans = spans_of(JOB, clock.events)
    assert valid(spans)
    (wait,) = named(spans, "queue")
    assert (wait.end_s - wait.start_s, wait.parent_id) == (40.0, spans[0].span_id)
    assert wait.attributes == {"optikit.team": "a", "optikit.devices": 2, "optikit.kind": "H100"}
    assert spans[0].end_s == ended


def test_a_stage_that_failed_in_the_queue_is_an_error() -> None:
    clock = Clock().begun().say("stage_asked", key="j/tune-1", need={})
    clock.say("stage_refused", key="j/tune-1", reason="no node has 8")
    clock.say("stage", stage="tune", state="failed", seconds=1.5, error="no node has 8")
    spans = spans_of(JOB, clock.events)
    assert valid(spans)
    assert [s.error for s in spans[1:]] == ["no node has 8", "no node has 8"]


def test_each_attempt_starts_an_engine_of_its_own() -> None:
    clock = Clock().begun().say("stage", stage="tune", state="running")
    clock.say("trial_started", trial="t").say("placed", trial="t")
    clock.say("attempt_failed", what="trial t", error="died", cause="crash")
    clock.say("placed", trial="t").say("engine_ready", trial="t")
    spans = spans_of(JOB, clock.events)
    assert valid(spans)
    starts = named(spans, "engine start")
    assert [s.error for s in starts] == ["died", None]
    assert [s.attributes["optikit.attempt"] for s in starts] == [1, 2]


def test_ids_are_the_same_again_and_another_jobs_are_others() -> None:
    events = Clock().begun().say("stage", stage="fetch", state="running").trial("t00").events
    ids = [span.span_id for span in spans_of(JOB, events)]
    assert ids == [span.span_id for span in spans_of(JOB, events)]
    assert not set(ids) & {span.span_id for span in spans_of("j-other", events)}
    assert all(int(one, 16) and len(one) == 16 for one in ids)
    assert len(trace_id_of(JOB)) == 32


def test_names_that_look_like_paths_and_long_texts_do_no_harm() -> None:
    clock = Clock().begun().say("stage", stage="x" * 9999, state="running")
    clock.trial("t").trial("t#1/engine").trial("t/probe#1", state="failed", error="y" * 9999)
    assert valid(spans_of(JOB, clock.events, {"optikit.model": "z" * 9999}))


@pytest.mark.parametrize("step", [1, 7])
def test_a_written_journal_is_a_valid_tree_at_every_moment(step: int) -> None:
    events = [json.loads(line) for line in WRITTEN.read_text().splitlines()]
    seen: set[str] = set()
    for upto in range(0, len(events) + 1, step):
        spans = spans_of(JOB, events[:upto])
        assert valid(spans)
        assert seen <= {span.span_id for span in spans}, "what was there stays there"
        seen = {span.span_id for span in spans}
    assert len(seen) > 10
    assert spans_of(JOB, []) == []


NAMES = st.sampled_from(["t00", "t01", "a/b"])
STAGES = st.sampled_from(["fetch", "tune"])
EVENTS = st.one_of(
    st.fixed_dictionaries({
        "kind": st.just("state"),
        "state": st.sampled_from(["starting", "running", "done", "failed", "cancelled"]),
    }),
    st.fixed_dictionaries({
        "kind": st.just("stage"), "stage": STAGES, "seconds": st.floats(0, 1e6),
        "state": st.sampled_from(["running", "done", "failed", "cancelled", "skipped"]),
    }),
    st.fixed_dictionaries({
        "kind": st.sampled_from(["trial_started", "placed", "engine_ready"]), "trial": NAMES,
    }),
    st.fixed_dictionaries({
        "kind": st.just("probe"), "trial": NAMES,
        "probe": st.fixed_dictionaries({
            "measurement": st.fixed_dictionaries({"duration_s": st.floats(0, 1e6)}),
        }),
    }),
    st.fixed_dictionaries({
        "kind": st.just("trial"),
        "trial": st.fixed_dictionaries({
            "id": NAMES, "state": st.sampled_from(["complete", "pruned", "failed"]),
        }),
    }),
    st.fixed_dictionaries({
        "kind": st.sampled_from(["stage_asked", "stage_granted", "stage_refused", "stage_left"]),
        "key": STAGES,
    }),
    st.fixed_dictionaries({
        "kind": st.just("teardown"), "stage": STAGES, "workers_s": st.floats(0, 1e6),
    }),
    st.fixed_dictionaries({
        "kind": st.just("attempt_failed"), "what": NAMES.map(lambda name: f"trial {name}"),
    }),
    st.fixed_dictionaries({"kind": st.sampled_from(["note", "collected", "cancel_asked"])}),
)  # fmt: skip
TIMED = st.tuples(EVENTS, st.floats(0, 1e7), st.floats(0, 1e7), st.sampled_from(["b1", "b2", ""]))


@given(st.lists(TIMED, max_size=40))
def test_whatever_was_written_when_and_by_whom_the_tree_is_valid(
    drawn: list[tuple[dict[str, Any], float, float, str]],
) -> None:
    """Torn lines leave any order behind, machines and clocks any time."""
    events = [{**facts, "t": t, "up": up, "boot": boot} for facts, t, up, boot in drawn]
    assert valid(spans_of(JOB, events))
