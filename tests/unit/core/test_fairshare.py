"""Who is first, where it starts, and that nobody waits for ever: in virtual time."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.fairshare import FairShare, Start
from optikit.errors import BadInput, DoesNotFit, UnknownName
from optikit.spec.queue import Need, Node, Team

HOUR = 3600.0


def nodes(*sizes: int, kind: str = "H100") -> list[Node]:
    return [Node(name=f"{kind}-{i}", kind=kind, devices=size) for i, size in enumerate(sizes)]


def need(key: str, team: str = "a", devices: int = 1, **more: Any) -> Need:
    given: dict[str, Any] = {"kind": "H100", "since_s": 0.0, **more}
    return Need(key=key, team=team, devices=devices, **given)


def fair(sizes: Sequence[int] = (8,), teams: str = "ab", **more: Any) -> FairShare:
    return FairShare(nodes(*sizes), [Team(name=name) for name in teams], **more)


def starts(queue: FairShare, now_s: float = 0.0) -> list[str]:
    found = []
    while (start := queue.next(now_s)) is not None:
        found.append(start.key)
    return found


# ---- who is first


def test_the_team_that_holds_less_is_first_and_many_free_devices_do_not_all_go_to_one() -> None:
    queue = fair()
    for number in range(6):
        queue.submit(need(f"a{number}", "a", 2))
        queue.submit(need(f"b{number}", "b", 2))
    assert starts(queue) == ["a0", "b0", "a1", "b1"]
    assert (queue.held("a", "H100"), queue.held("b", "H100")) == (4, 4)


def test_of_two_teams_that_held_nothing_the_smaller_stage_is_first() -> None:
    queue = fair((8,))
    queue.submit(need("large", "a", 8, expected_s=HOUR))
    queue.submit(need("small", "b", 1, expected_s=HOUR))
    assert starts(queue) == ["small"]


def test_what_a_team_held_before_counts_and_fades() -> None:
    for idle_days, first in ((0, "b"), (60, "a")):
        queue = fair((1,), window_s=86_400.0)
        queue.submit(need("old", "a"))
        queue.next(0.0)
        queue.end("old", 5 * HOUR)
        queue.submit(need("short", "b"))
        at = 5 * HOUR + idle_days * 86_400.0
        queue.next(at)
        queue.end("short", at + 60.0)
        queue.submit(need("a1", "a"))
        queue.submit(need("b1", "b"))
        start = queue.next(at + 60.0)
        assert start is not None
        assert start.key == first + "1"


def test_usage_is_the_integral_of_its_docstring() -> None:
    queue = fair((8,), window_s=10 * HOUR)
    queue.submit(need("one", "a", 4))
    queue.next(0.0)
    queue.end("one", 5 * HOUR)
    level = queue.level("a", 8 * HOUR)
    steps = [(t + 0.5) * 36.0 for t in range(500)]  # midpoints of 0 to 5 hours
    integral = sum(4 * math.exp(-(8 * HOUR - s) / (10 * HOUR)) * 36.0 for s in steps)
    assert level == pytest.approx(integral, rel=1e-4)


def test_a_stage_that_takes_longer_than_expected_excuses_no_other() -> None:
    queue = fair((2,), horizon_s=100 * HOUR)
    queue.submit(need("late", "a", expected_s=HOUR))
    queue.submit(need("long", "a", expected_s=20 * HOUR))
    starts(queue)
    level = queue.level("a", 10 * HOUR)
    fade = 1 - math.exp(-10 / 24)
    assert level == pytest.approx(2 * 24 * HOUR * fade + 10 * HOUR)  # held by both, left of one


def test_within_a_team_the_older_job_is_first_and_priority_is_worth_age() -> None:
    queue = fair((1,), ageing_s=HOUR)
    queue.submit(need("young", since_s=1.5 * HOUR))
    queue.submit(need("old", since_s=0.0))
    queue.submit(need("urgent", since_s=1.5 * HOUR, priority=1))
    queue.submit(need("most urgent", since_s=1.5 * HOUR, priority=2))
    order = []
    for now in range(4):
        start = queue.next(float(now))
        assert start is not None
        order.append(start.key)
        queue.end(start.key, now + 0.5)
    assert order == ["most urgent", "old", "urgent", "young"]


def test_a_device_hour_counts_the_same_on_every_kind() -> None:
    queue = FairShare([*nodes(8), *nodes(1, kind="A100")], [Team(name="a"), Team(name="b")])
    queue.submit(need("large", "a", 8))
    queue.next(0.0)
    queue.submit(need("a", "a", kind="A100"))
    queue.submit(need("b", "b", kind="A100"))
    assert starts(queue, 1.0) == ["b"]


def test_what_runs_is_charged_with_what_it_is_expected_to_take() -> None:
    queue = fair((1, 1, 1), horizon_s=100 * HOUR)
    queue.submit(need("a long one", "a", expected_s=9 * HOUR))
    queue.submit(need("a short one", "b", expected_s=HOUR))
    starts(queue)
    queue.submit(need("a", "a"))
    queue.submit(need("b", "b"))
    start = queue.next(60.0)
    assert start is not None
    assert start.key == "b"
    assert queue.level("a", 60.0) == pytest.approx(9 * HOUR, rel=1e-3)
    assert queue.level("a", 20 * HOUR) > 13 * HOUR  # it takes longer: what it took counts


# ---- where it starts


def test_all_devices_on_one_node_or_none() -> None:
    queue = fair((4, 4))
    queue.submit(need("three", devices=3))
    queue.submit(need("other three", devices=3))
    queue.submit(need("two", devices=2))
    assert starts(queue) == ["three", "other three"]  # 2 are free, on two nodes
    assert queue.waiting == ("two",)


def test_the_node_with_the_least_left_over_is_taken() -> None:
    queue = fair((8, 2, 4))
    queue.submit(need("two", devices=2))
    assert queue.next(0.0) == Start("two", "H100-1")


def test_the_first_in_line_gets_a_node_however_many_small_ones_come() -> None:
    queue = fair((8, 8))
    for number in range(16):
        queue.submit(need(f"s{number}", "a"))
    assert len(starts(queue)) == 16
    queue.submit(need("large", "b", 8))
    ended = 0
    for hour in range(1, 17):  # one of the old ones ends an hour, and a new one comes
        queue.submit(need(f"n{hour}", "a"))
        queue.end(f"s{ended}", hour * HOUR)
        ended += 1
        if "large" in starts(queue, hour * HOUR):
            break
    assert "large" in queue.running
    assert ended <= 16


def test_younger_ones_of_a_team_pass_its_first_only_where_that_has_a_node() -> None:
    queue = fair((4, 4), "ab", most_reserved=0.0)  # one reservation
    for node in range(2):
        queue.submit(need(f"runs {node}", "ab"[node], 3, bound_s=HOUR))
    starts(queue)
    queue.submit(need("large", "a", 4))
    queue.submit(need("small", "a", 1, since_s=1.0))
    queue.submit(need("other large", "b", 4))
    queue.submit(need("other small", "b", 1, since_s=1.0))
    assert starts(queue) == ["small"]


def test_others_start_on_the_reserved_node_only_where_they_are_surely_gone_in_time() -> None:
    queue = fair((8,), "abcde")
    queue.submit(need("runs", "a", 4, bound_s=2 * HOUR))
    assert starts(queue) == ["runs"]
    queue.submit(need("large", "b", 8, expected_s=60.0))
    queue.submit(need("long", "c", 2, bound_s=3 * HOUR))
    queue.submit(need("unbounded", "d", 1))
    queue.submit(need("short", "e", 4, bound_s=1 * HOUR))
    assert starts(queue) == ["short"]
    queue.end("short", HOUR)
    assert starts(queue, HOUR) == []
    queue.end("runs", 2 * HOUR)
    assert starts(queue, 2 * HOUR) == ["large"]


def test_what_ends_when_nobody_knows_lets_nobody_onto_the_reserved_node() -> None:
    queue = fair((8,), "abc")
    queue.submit(need("runs", "a", 4))
    starts(queue)
    queue.submit(need("large", "b", 8, expected_s=1.0))
    queue.submit(need("short", "c", 1, bound_s=60.0))
    assert starts(queue) == []
    assert queue.cancel("large")
    assert starts(queue) == ["short"]


def test_spare_devices_of_the_reserved_node_are_used() -> None:
    queue = fair((8,), "abc")
    queue.submit(need("runs", "a", 6, bound_s=HOUR))
    starts(queue)
    queue.submit(need("large", "b", 6))
    queue.submit(need("two", "c", 2))
    assert starts(queue) == ["two"]  # of the 8, 6 are enough for the large one


# ---- bounds


def test_a_quota_holds_and_its_team_does_not_pass_itself() -> None:
    queue = FairShare(nodes(8), [Team(name="a", quota={"H100": 4}), Team(name="b")])
    queue.submit(need("a1", "a", 3))
    queue.submit(need("a2", "a", 2, since_s=1.0))
    queue.submit(need("a3", "a", 1, since_s=2.0))
    queue.submit(need("b1", "b", 2))
    assert starts(queue) == ["b1", "a1"]
    queue.end("a1", 9.0)
    assert starts(queue, 9.0) == ["a2", "a3"]


def test_what_a_reservation_will_take_is_kept_out_of_the_quota() -> None:
    queue = FairShare(nodes(4, 4), [Team(name="a", quota={"H100": 4}), Team(name="b")])
    for node in range(2):
        queue.submit(need(f"b{node}", "b", 3, bound_s=HOUR))
    starts(queue)
    queue.submit(need("large", "a", 4))
    queue.submit(need("small", "a", 1, since_s=1.0))
    assert starts(queue) == []  # small would take of the quota what large needs
    queue.end("b0", HOUR)
    queue.end("b1", HOUR)
    assert starts(queue, HOUR) == ["large"]


def test_a_quota_that_is_raised_counts_at_once() -> None:
    queue = FairShare(nodes(8), [Team(name="a", quota={"H100": 1})])
    queue.submit(need("one"))
    queue.submit(need("two"))
    assert starts(queue) == ["one"]
    queue.set_team(Team(name="a"))
    assert starts(queue) == ["two"]


def test_a_lowered_quota_frees_the_node_that_was_reserved() -> None:
    queue = FairShare(nodes(8), [Team(name="a"), Team(name="b")])
    queue.submit(need("runs", "b", 1))
    starts(queue)
    queue.submit(need("large", "a", 8))
    assert starts(queue) == []
    queue.submit(need("small", "b", 1))
    assert starts(queue) == []  # the node is kept for the large one
    queue.set_team(Team(name="a", quota={"H100": 4}))
    assert starts(queue) == ["small"]
    queue.set_team(Team(name="a"))
    for key in ("runs", "small"):
        queue.end(key, HOUR)
    assert starts(queue, HOUR) == ["large"]


def test_what_can_never_be_served_is_refused_with_what_there_is() -> None:
    queue = FairShare(nodes(8, 4), [Team(name="a", quota={"H100": 2})])
    with pytest.raises(DoesNotFit, match="the cluster has 1 x 4 H100, 1 x 8 H100"):
        queue.submit(need("x", devices=16))
    with pytest.raises(DoesNotFit, match="the cluster has"):
        queue.submit(need("x", kind="H200"))
    with pytest.raises(DoesNotFit, match="quota of team a is 2"):
        queue.submit(need("x", devices=4))
    with pytest.raises(UnknownName, match="known: a"):
        queue.submit(need("x", "nobody"))
    queue.submit(need("x"))
    with pytest.raises(BadInput, match="submit it once"):
        queue.submit(need("x"))


def test_what_was_cancelled_does_not_start() -> None:
    queue = fair()
    queue.submit(need("one"))
    assert queue.cancel("one")
    assert not queue.cancel("one")
    assert starts(queue) == []


# ---- any backlog


@st.composite
def backlogs(draw: Any) -> tuple[list[int], list[tuple[Need, float]]]:
    sizes = draw(st.lists(st.sampled_from([1, 4, 8]), min_size=1, max_size=4))
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.sampled_from([d for d in (1, 2, 4, 8) if d <= max(sizes)]),
                st.integers(-3, 3),
                st.floats(1.0, 1000.0),
                st.booleans(),
            ),
            max_size=40,
        )
    )
    return sizes, [
        (
            need(
                f"n{i}",
                team,
                devices,
                priority=priority,
                since_s=float(i),
                bound_s=lasts if bound else None,
            ),
            lasts,
        )
        for i, (team, devices, priority, lasts, bound) in enumerate(rows)
    ]


@given(backlogs())
def test_everything_starts_once_and_no_node_holds_more_than_it_has(
    case: tuple[list[int], list[tuple[Need, float]]],
) -> None:
    sizes, rows = case
    queue = fair(sizes, "abc")
    of_key = {row[0].key: row for row in rows}
    size_of = {f"H100-{i}": size for i, size in enumerate(sizes)}
    held: dict[str, int] = defaultdict(int)
    where: dict[str, str] = {}
    for row, _ in rows:
        queue.submit(row)
    ends: list[tuple[float, str]] = []
    now = 0.0
    while True:
        while (start := queue.next(now)) is not None:
            assert start.key not in where
            where[start.key] = start.node
            held[start.node] += of_key[start.key][0].devices
            assert held[start.node] <= size_of[start.node]
            heapq.heappush(ends, (now + of_key[start.key][1], start.key))
        if not ends:
            break
        now, key = heapq.heappop(ends)
        held[where[key]] -= of_key[key][0].devices
        queue.end(key, now)
    assert set(where) == set(of_key)
    assert queue.waiting == queue.running == ()
    assert not any(held.values())
