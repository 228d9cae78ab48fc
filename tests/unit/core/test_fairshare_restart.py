"""A queue that was started after others were: what ran before, and nodes that come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.fairshare import Start
from optikit.errors import BadInput
from optikit.spec.queue import Node
from tests.unit.core.test_fairshare import HOUR, fair, need, nodes, starts


def test_what_runs_already_is_adopted() -> None:
    queue = fair((8,))
    queue.adopt(need("old", "a", 6), "H100-0", began_s=0.0)
    queue.submit(need("new", "b", 4))
    assert starts(queue) == []
    assert queue.held("a", "H100") == 6
    queue.end("old", HOUR)
    assert starts(queue, HOUR) == ["new"]
    with pytest.raises(BadInput, match="new waits or runs already"):
        queue.adopt(need("new", "b", 4), "H100-0", began_s=0.0)


def test_what_runs_on_a_node_that_is_gone_counts_for_its_team_alone() -> None:
    queue = fair((8,))
    queue.adopt(need("old", "a", 8), "away", began_s=0.0)
    queue.submit(need("new", "b", 8))
    assert starts(queue) == ["new"]
    assert queue.level("a", HOUR) > 0
    queue.end("old", HOUR)


@given(st.floats(0, 40), st.floats(0.1, 20), st.integers(1, 8))
def test_what_is_remembered_counts_as_if_it_had_been_seen(
    began: float, lasts: float, devices: int
) -> None:
    """A stage from its start to its end, and the same stage heard of afterwards."""
    seen, told = fair((8,)), fair((8,))
    seen.adopt(need("a0", "a", devices), "H100-0", began * HOUR)
    end = (began + lasts) * HOUR
    seen.end("a0", end)
    told.remember("a", devices, began * HOUR, end)
    later = end + 5 * HOUR
    assert told.level("a", later) == pytest.approx(seen.level("a", later), rel=1e-6)


def test_stages_remembered_in_any_order_count_the_same() -> None:
    one, other = fair((8,)), fair((8,))
    for queue, order in ((one, (0, 10)), (other, (10, 0))):
        for began in order:
            queue.remember("a", 4, began * HOUR, (began + 2) * HOUR)
    assert one.level("a", 20 * HOUR) == pytest.approx(other.level("a", 20 * HOUR))


def test_a_node_that_comes_is_used_and_one_that_went_is_not() -> None:
    queue = fair((4,))
    queue.submit(need("large", "a", 4))
    assert starts(queue) == ["large"]
    queue.set_nodes([Node(name="new", kind="H100", devices=8)])
    queue.submit(need("next", "b", 8))
    assert queue.next(0.0) == Start("next", "new")
    queue.end("large", HOUR)
    queue.submit(need("small", "a", 1))
    assert starts(queue, HOUR) == []


def test_what_a_vanished_node_was_reserved_for_waits_for_another() -> None:
    queue = fair((8, 8))
    for number in range(2):
        queue.submit(need(f"a{number}", "a", 6, expected_s=HOUR, bound_s=HOUR))
    assert starts(queue) == ["a0", "a1"]
    queue.submit(need("wide", "b", 8))
    assert starts(queue) == []
    queue.set_nodes(nodes(8))
    queue.end("a0", HOUR)
    queue.end("a1", HOUR)
    assert starts(queue, HOUR) == ["wide"]
