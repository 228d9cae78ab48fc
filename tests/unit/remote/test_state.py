from __future__ import annotations

from typing import Any

import pytest

from optikit.adapters.ray_jobs import RayJob
from optikit.errors import ClusterError
from optikit.remote.state import plan_in, state_of_remote, state_without_log

START = {"kind": "state", "state": "starting"}
RUN = {"kind": "state", "state": "running"}
DONE = {"kind": "state", "state": "negative", "exit_code": 3, "message": "no", "verdict": "fail"}
DIED = {"kind": "state", "state": "cancelled", "exit_code": 130}


@pytest.mark.parametrize(
    ("status", "code", "events", "state", "exit_code"),
    [
        ("PENDING", None, [], "starting", None),
        ("RUNNING", None, [], "starting", None),
        ("RUNNING", None, [START, RUN], "running", None),
        ("RUNNING", None, [START, RUN, DONE], "negative", 3),
        ("FAILED", 3, [START, RUN, DONE], "negative", 3),
        ("FAILED", -9, [START, RUN], "interrupted", None),
        ("FAILED", -9, [START, DIED, START], "interrupted", None),
        ("FAILED", 1, [], "failed", 1),
        ("STOPPED", None, [START, RUN, DIED], "cancelled", 130),
        ("STOPPED", None, [START, RUN], "cancelled", 130),
    ],
)
def test_state_by_ray_and_by_what_the_driver_said(
    status: str, code: int | None, events: list[Any], state: str, exit_code: int | None
) -> None:
    found = state_of_remote(RayJob("j", status, exit_code=code), events)
    assert (found["state"], found["exit_code"]) == (state, exit_code)
    assert isinstance(found["message"], str)


def test_a_driver_that_never_began_says_what_ray_knows() -> None:
    job = RayJob("j", "FAILED", message="sh: exec: nosuch: not found", exit_code=127)
    message = state_of_remote(job, [])["message"]
    assert "nosuch: not found" in message
    assert "--python" in message


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [
        ("PENDING", None, "starting"),
        ("RUNNING", None, "running"),
        ("SUCCEEDED", 0, "done"),
        ("STOPPED", None, "cancelled"),
        ("FAILED", 3, "negative"),
        ("FAILED", 4, "inconclusive"),
        ("FAILED", 2, "rejected"),
        ("FAILED", 1, "failed"),
        ("FAILED", None, "failed"),
    ],
)
def test_a_list_needs_no_log(status: str, code: int | None, state: str) -> None:
    assert state_without_log(RayJob("j", status, exit_code=code)) == state


def test_another_versions_plan_is_named() -> None:
    assert plan_in([START]) is None
    with pytest.raises(ClusterError, match="another version"):
        plan_in([{"kind": "planned", "plan": {"strange": 1}}])
