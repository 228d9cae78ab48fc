"""Time that nobody can set, and what of it a job used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.budget import steady, used


def at(t: float, up: float | None = None, kind: str = "note", **facts: Any) -> dict[str, Any]:
    """An event of this machine's boot; without ``up`` one of an older archive."""
    clocks = {} if up is None else {"up": up, "boot": "b1"}
    return {"t": t, "kind": kind, **clocks, **facts}


def test_a_jump_of_the_wall_clock_changes_nothing() -> None:
    """Two days on, two days back: events lie as far apart as the machine's own clock says."""
    events = [at(1000.0, 5.0), at(1000.0 + 172_800, 6.0), at(1000.0 - 172_800, 9.5)]
    assert steady(events) == pytest.approx([1000.0, 1001.0, 1004.5])


def test_another_machine_is_placed_by_the_wall_clock_once() -> None:
    there = {"t": 1003.0, "kind": "probe", "up": 777.0, "boot": "b2"}
    later = {"t": 99_999.0, "kind": "probe", "up": 779.0, "boot": "b2"}
    assert steady([at(1000.0, 5.0), there, later, at(1.0, 11.0)]) == pytest.approx(
        [1000.0, 1003.0, 1005.0, 1006.0]
    )


def test_an_older_archive_has_the_wall_clock_which_is_believed_forwards() -> None:
    assert steady([at(10.0), at(15.0), at(3.0), at(4.0)]) == [10.0, 15.0, 15.0, 16.0]


@given(
    gaps=st.lists(st.floats(0.0, 1e4), min_size=1, max_size=20),
    jumps=st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=20),
)
def test_whatever_the_wall_clock_does_spans_are_those_of_the_machines(
    gaps: list[float], jumps: list[float]
) -> None:
    up, events = 100.0, [at(1e9, 100.0)]
    for gap, jump in zip(gaps, jumps, strict=False):
        up += gap
        events.append(at(1e9 + up + jump, up))
    found = steady(events)
    assert found[-1] - found[0] == pytest.approx(sum(gaps), abs=1e-3)


def run_of(*events: dict[str, Any]) -> tuple[float, float]:
    return used(events, steady(events))


def test_all_runs_count_and_what_lies_between_them_does_not() -> None:
    assert run_of(
        at(0.0, kind="state", state="running"),
        at(60.0, kind="state", state="cancelled"),
        at(500.0, kind="state", state="running"),
        at(530.0, kind="occupied", devices=2, seconds=20.0),
        at(540.0, kind="now"),
    ) == (100.0, 40.0)


@pytest.mark.parametrize("again", ["running", "starting"])
def test_a_run_whose_driver_vanished_counts_up_to_its_last_word(again: str) -> None:
    """Not the night in which nobody noticed, whatever others wrote in it."""
    wall_s, _ = run_of(
        at(0.0, kind="state", state="running"),
        at(50.0, kind="probe"),
        at(900.0, kind="cancel_asked"),
        at(1000.0, kind="state", state=again),
        at(1010.0, kind="now"),
    )
    assert wall_s == (60.0 if again == "running" else 50.0)
