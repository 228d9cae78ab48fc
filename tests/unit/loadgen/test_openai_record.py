"""What a run has seen: snapshots stay as they were."""

from __future__ import annotations

import json
import math

import numpy as np

from optikit.core.load import Load, plan_load
from optikit.loadgen._answer import Answer
from optikit.loadgen._record import Record
from optikit.spec.workload import Workload

WORKLOAD = Workload.parse({"prompt_tokens": 7, "output_tokens": 2, "arrivals": "constant"})
EVENT = json.dumps({"choices": [{"text": "a"}]}).encode()


def load() -> Load:
    return plan_load(WORKLOAD, 1.0, 2, seed=0, before=1, after=1)


def test_a_snapshot_holds_what_is_known_and_does_not_change() -> None:
    record = Record(load(), keep_tokens=True, closed=False)
    record.start = 100.0
    answer = Answer(2, keep=True)
    record.begin(1, answer, 101.5)
    answer.take(102.0, EVENT)
    early = record.timings()
    answer.take(103.0, EVENT)
    answer.prompt_tokens, answer.output_tokens = 7, 2
    record.end(1, None)
    late = record.timings()
    assert early.first_token_s[1] == late.first_token_s[1] == 2.0
    assert math.isnan(early.end_s[1])
    assert late.end_s[1] == 3.0
    assert early.token_s is not None
    assert late.token_s is not None
    assert early.token_s.tolist() == [2.0]
    assert late.token_s.tolist() == [2.0, 3.0]
    assert late.token_offsets is not None
    assert late.token_offsets.tolist() == [0, 0, 2, 2, 2]
    assert late.ok.tolist() == [False, True, False, False]
    assert (late.first, late.last) == (1, 3)
    assert late.scheduled_s.tolist() == [0.5, 1.5, 2.5, 3.5]


def test_only_measured_requests_fail_for_want_of_time() -> None:
    record = Record(load(), keep_tokens=False, closed=False)
    answer = Answer(2)
    record.begin(1, answer, 0.0)
    answer.take(1.0, EVENT)
    record.end(1, None)
    record.fail_open("not finished in 1 s")
    assert dict(record.timings().errors) == {2: "not finished in 1 s"}
    assert record.timings().token_s is None


def test_a_closed_loop_is_scheduled_when_it_comes_to_a_request() -> None:
    record = Record(load(), keep_tokens=False, closed=True)
    record.start = 10.0
    record.schedule(0, 10.25)
    found = record.timings().scheduled_s
    assert found[0] == 0.25
    assert np.isnan(found[1:]).all()


def test_the_first_error_of_a_request_stays() -> None:
    record = Record(load(), keep_tokens=False, closed=False)
    record.begin(1, Answer(2), 0.0)
    record.end(1, "HTTP 500: no")
    record.fail_open("not finished in 1 s")
    assert record.timings().errors[1] == "HTTP 500: no"
