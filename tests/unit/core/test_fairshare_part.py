"""Each team's part of the devices: who waits because it holds much, and who fills the gaps."""

from __future__ import annotations

import pytest

from optikit.core.fairshare import FairShare
from optikit.spec.queue import Node, Team
from tests.unit.core.test_fairshare import HOUR, fair, need, nodes, starts


def test_what_runs_is_charged_within_the_horizon() -> None:
    """A long stage costs its team no devices long before it used them."""
    queue = fair((1,), horizon_s=HOUR)
    queue.submit(need("long", "a", expected_s=9 * HOUR))
    starts(queue)
    assert queue.level("a", 0.0) == pytest.approx(HOUR)
    assert queue.level("a", HOUR) == pytest.approx(2 * HOUR, rel=0.03)


def test_who_would_hold_much_more_than_its_part_comes_after_the_others() -> None:
    """Of 16 devices two teams may hold 8 each; what nobody else can use is still given."""
    queue = fair((16,), burst=1.0)
    for number in range(4):
        queue.submit(need(f"a{number}", "a", 4, expected_s=60.0))
    queue.submit(need("b0", "b", 4, expected_s=50 * HOUR))
    queue.submit(need("b1", "b", 4, expected_s=50 * HOUR))
    assert starts(queue) == ["a0", "a1", "b0", "b1"]


def test_a_team_that_holds_nothing_is_never_put_last_for_what_it_asks() -> None:
    """However small its part is: else a stage larger than that would wait for ever."""
    queue = FairShare(nodes(8), [Team(name="a", weight=100.0), Team(name="b", weight=0.1)])
    queue.submit(need("b0", "b", 8, expected_s=HOUR))
    for number in range(3):
        queue.submit(need(f"a{number}", "a", 8, expected_s=HOUR))
    order = []
    for hour in range(4):
        order += starts(queue, hour * HOUR)
        queue.end(order[-1], (hour + 1) * HOUR - 1.0)
    assert "b0" in order


def test_gaps_are_filled_by_all_teams_before_one_that_holds_much_takes_them() -> None:
    """b would hold three times its part; a's small stage stands behind one that finds no node."""
    queue = fair((8, 8), "abc", most_reserved=0.0, burst=1.0)
    queue.submit(need("c runs", "c", 6, bound_s=HOUR))
    queue.submit(need("b runs", "b", 6, bound_s=HOUR))
    assert len(starts(queue)) == 2
    queue.submit(need("c large", "c", 8))  # has the one reservation
    queue.submit(need("a large", "a", 8))
    queue.submit(need("a small", "a", 2, since_s=1.0))
    queue.submit(need("b small", "b", 2))
    assert starts(queue) == ["a small"]


def test_a_stage_without_a_node_is_passed_so_often_and_no_more() -> None:
    queue = fair((8, 8), "ab", most_reserved=0.0, most_passed=2)
    for node in range(2):
        queue.submit(need(f"runs {node}", "b", 5, bound_s=50 * HOUR))
    starts(queue)
    queue.submit(need("b large", "b", 8))
    assert starts(queue) == []  # and the one reservation is its
    queue.submit(need("a large", "a", 8))
    for number in range(4):
        queue.submit(need(f"a{number}", "a", 1, since_s=1.0 + number))
    assert starts(queue) == ["a0", "a1"]
    queue.cancel("a large")
    assert starts(queue) == ["a2"]


def test_who_passes_a_stage_without_a_node_reserves_none() -> None:
    """Else what one lets by takes, in ever more nodes, what it waits for.

    a's first asks for the one node that is large enough, which c's has; its second finds a node
    only later. b fills the gap.
    """
    queue = FairShare(
        [Node(name="large", kind="H100", devices=8), Node(name="small", kind="H100", devices=4)],
        [Team(name=name) for name in "abc"],
        most_reserved=1.0,
    )
    queue.submit(need("c runs", "c", 7, bound_s=HOUR))
    queue.submit(need("b runs", "b", 2, bound_s=HOUR))
    assert len(starts(queue)) == 2
    queue.submit(need("c first", "c", 8))
    assert starts(queue) == []  # and the large node is its
    queue.submit(need("a first", "a", 8))
    queue.submit(need("a second", "a", 4, since_s=1.0))
    assert starts(queue) == []
    queue.submit(need("b small", "b", 2, since_s=2.0))
    assert starts(queue) == ["b small"]
