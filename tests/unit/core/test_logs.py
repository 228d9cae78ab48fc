"""Log records as JSON and back for a person, and an engine's log cut into what it said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from optikit.core.logs import (
    LONGEST,
    LogContext,
    engine_records,
    inside,
    json_line,
    readable,
    summary_of_event,
)

AT = datetime(2026, 11, 27, 11, 44, 49, 123000, UTC).timestamp()


def line(**more: Any) -> str:
    facts = {"job": "j1", "trial": None, "attempt": 2}
    return json_line(AT, "ERROR", "optikit.x", "no\nmore", {**facts, **more}, "Traceback:\n  X")


def test_a_record_is_one_line_with_every_field() -> None:
    assert "\n" not in line()
    assert json.loads(line()) == {
        "timestamp": "2026-11-27T11:44:49.123Z",
        "level": "ERROR",
        "logger": "optikit.x",
        "message": "no\nmore",
        "job": "j1",
        "attempt": 2,
        "exception": "Traceback:\n  X",
    }


def test_a_long_message_keeps_its_ends() -> None:
    text = "a" + "x" * LONGEST + "z"
    found = json.loads(json_line(AT, "INFO", "o", text, {}))["message"]
    assert len(found) < LONGEST + 20
    assert (found[0], found[-1]) == ("a", "z")


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "(pid=12) ",
        "(_Runner pid=12) ",
        "\x1b[36m(tune.measure_here pid=12, ip=10.0.0.2)\x1b[0m ",
    ],
)
def test_a_workers_record_is_found_behind_what_ray_puts_before_it(prefix: str) -> None:
    record, text = inside(prefix + line())
    assert record == text == line()
    record, text = inside(f"{prefix}plain (words) here")
    assert (record, text) == (None, "plain (words) here")


@pytest.mark.parametrize("text", ['{"timestamp": "x"}', '{"timestamp": "x', "{}", "", "[1]"])
def test_what_only_looks_like_a_record_is_none(text: str) -> None:
    assert inside(text)[0] is None
    assert readable(text) == text


def test_a_person_reads_stage_or_trial_and_the_traceback_below() -> None:
    assert readable(line(stage="tune")) == (
        "2026-11-27T11:44:49.123Z ERROR optikit.x [tune] no\nmore\nTraceback:\n  X"
    )
    assert "[t03]" in readable(line(stage="tune", trial="t03"))


def test_a_context_grows_and_keeps_what_nothing_replaces() -> None:
    context = LogContext().plus(job="j", stage="tune").plus(stage=None, trial="t1")
    assert context.facts == {"job": "j", "stage": "tune", "trial": "t1"}


def test_an_events_message_has_its_plain_facts_alone() -> None:
    text, of = summary_of_event(
        "probe",
        {
            "trial": "t1",
            "probe": {"number": 3, "verdict": "pass", "measurement": {"requests": 5}},
            "raw_digest": None,
            "left": [1, 2],
        },
    )
    assert text == "probe: trial=t1 probe.number=3 probe.verdict=pass"
    assert of == {"event": "probe", "trial": "t1"}
    text, of = summary_of_event("trial", {"trial": {"id": "t1", "state": "failed", "rate": {}}})
    assert text == "trial: trial.id=t1 trial.state=failed"
    assert of["trial"] == "t1"
    assert summary_of_event("reaped", {}) == ("reaped", {"event": "reaped"})
    assert len(summary_of_event("note", {"text": "x" * 5000})[0]) < 400


VLLM = """\
warming up
(APIServer pid=7) INFO 11-27 12:44:49 [api_server.py:1] vLLM API server
(EngineCore pid=8) ERROR 11-27 12:44:50 [core.py:2] EngineCore failed
Traceback (most recent call last):
  File "x.py", line 1

ValueError: no
INFO 11-27 12:44:51 [x.py:3] bye

"""


def test_an_engines_log_is_cut_into_what_it_said() -> None:
    """The machine's clock is an hour ahead of UTC."""
    first, second, third, fourth = engine_records(VLLM, AT + 10, 3600.0)
    assert (first.level, first.message, first.at_s) == ("INFO", "warming up", None)
    assert (second.message, second.at_s) == ("[api_server.py:1] vLLM API server", int(AT))
    assert third.level == "ERROR"
    assert third.message.splitlines()[-1] == "ValueError: no"
    assert third.message.count("\n") == 4
    assert fourth.message == "[x.py:3] bye"
    assert list(engine_records("\n\n", AT, 0.0)) == []


def test_lines_of_december_that_are_read_in_january_are_of_last_year() -> None:
    now = datetime(2027, 1, 1, 0, 5, tzinfo=UTC).timestamp()
    (found,) = engine_records("INFO 12-31 23:59:00 [x] y", now, 0.0)
    assert found.at_s == datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp()
    (leap,) = engine_records("INFO 02-30 23:59:00 [x] y", now, 0.0)
    assert leap.at_s is None
