from __future__ import annotations

import math
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.packing import (
    Held,
    Packing,
    Placed,
    Wish,
    look_ahead,
    simulate_packing,
    usage_of,
)
from optikit.errors import DoesNotFit

sizes = st.sampled_from([1, 2, 3, 4, 8])
lasts = st.floats(0.1, 100)
expected = st.one_of(st.none(), st.floats(0.1, 100))
lists = st.lists(st.tuples(sizes, lasts, expected), max_size=40)
clusters = st.sampled_from([(8,), (8, 8), (8, 4), (8, 8, 8, 2)])


def trials(rows: list[tuple[int, float, float | None]]) -> list[tuple[Wish, float]]:
    return [(Wish(f"t{n}", d, e), s) for n, (d, s, e) in enumerate(rows)]


def most_taken(held: list[Held]) -> int:
    # at one moment ends come before begins
    events = sorted(
        (at, change)
        for h in held
        for at, change in ((h.began_s, h.devices), (h.ended_s, -h.devices))
    )
    taken = most = 0
    for _, change in events:
        taken += change
        most = max(most, taken)
    return most


@given(lists, clusters, st.integers(1, 8), st.integers(0, 4))
def test_all_run_once_and_no_node_is_oversubscribed(
    rows: list[tuple[int, float, float | None]],
    nodes: tuple[int, ...],
    ahead: int,
    most_passed: int,
) -> None:
    found = simulate_packing(trials(rows), nodes, ahead, most_passed)
    assert sorted(key for key, _, _ in found) == sorted(f"t{n}" for n in range(len(rows)))
    for node, size in enumerate(nodes):
        assert most_taken([held for _, at, held in found if at == node]) <= size
    for key, _, held in found:
        devices, seconds, _ = rows[int(key[1:])]
        assert held.devices == devices
        assert held.ended_s - held.began_s == pytest.approx(seconds)


@given(lists, clusters)
def test_devices_do_not_idle_while_a_trial_that_fits_could_start(
    rows: list[tuple[int, float, float | None]], nodes: tuple[int, ...]
) -> None:
    """Without a reservation, at any moment: what waits is larger than what is free on any node."""
    packing = Packing(nodes, ahead=len(rows) + 1, most_passed=10**6)
    for wish, _ in trials(rows):
        packing.offer(wish)
    free = list(nodes)
    sized = {wish.key: wish.devices for wish, _ in trials(rows)}
    while (placed := packing.next(0.0)) is not None:
        free[placed.node] -= sized[placed.key]
    assert packing.idle == sum(free)
    assert packing.running + len(packing.waiting) == len(rows)
    assert all(sized[key] > max(free) for key in packing.waiting)


@pytest.mark.parametrize("believed", [1e-3, 30.0, None], ids=["too short", "right", "unknown"])
def test_a_large_trial_is_not_starved_by_an_endless_stream_of_small_ones(
    believed: float | None,
) -> None:
    """However wrong the expectations are, only so many may pass it."""
    packing = Packing((4, 4), ahead=4, most_passed=3)
    ends: list[tuple[float, str]] = []
    names = count()
    packing.offer(Wish("first", 1, believed))
    assert packing.next(0.0) == Placed("first", 0)
    ends.append((30.0, "first"))
    packing.offer(Wish("other", 1, believed))
    assert packing.next(0.0) is not None
    ends.append((45.0, "other"))
    packing.offer(Wish("large", 4, 30.0))
    now, started = 0.0, 0
    # the two nodes cannot both be free unless somebody waits for them
    for _ in range(60):
        while packing.wants:
            packing.offer(Wish(f"s{next(names)}", 1, believed))
        while (placed := packing.next(now)) is not None:
            if placed.key == "large":
                assert started <= 2 * 3 + 4 + 4  # passed, passed on its node, the other node
                return
            started += 1
            ends.append((now + 25.0 + started % 7, placed.key))
        ends.sort()
        now, key = ends.pop(0)
        packing.end(key, now)
    pytest.fail("the large trial never started")


def started(packing: Packing, now: float = 0.0) -> list[tuple[str, int]]:
    found = []
    while (placed := packing.next(now)) is not None:
        found.append((placed.key, placed.node))
    return found


def test_the_largest_that_fits_goes_first_on_the_fullest_node() -> None:
    packing = Packing((8, 8), ahead=8)
    for key, devices in (("a", 1), ("b", 8), ("c", 4), ("d", 4)):
        packing.offer(Wish(key, devices))
    assert started(packing) == [("b", 0), ("c", 1), ("d", 1)]
    assert packing.waiting == ("a",)
    packing.end("c", 5.0)
    assert started(packing, 5.0) == [("a", 1)]


def test_behind_a_reservation_only_what_does_not_delay_it_may_start() -> None:
    packing = Packing((8,), ahead=9, most_passed=0)
    packing.offer(Wish("runs", 4, 100.0))
    assert started(packing) == [("runs", 0)]
    packing.offer(Wish("large", 6, 50.0))  # waits until 100, and leaves 2 devices alone
    for key, devices, seconds in (("long", 4, 200.0), ("beside", 2, 900.0), ("more", 1, 900.0)):
        packing.offer(Wish(key, devices, seconds))
    assert started(packing) == []  # most_passed=0: nothing may pass at all
    generous = Packing((8,), ahead=9, most_passed=2)
    generous.offer(Wish("runs", 4, 100.0))
    assert started(generous) == [("runs", 0)]
    generous.offer(Wish("large", 6, 50.0))
    for n in range(2):
        generous.offer(Wish(f"p{n}", 1, 10.0))
    assert started(generous) == [("p0", 0), ("p1", 0)]  # now it was passed often enough
    generous.offer(Wish("unknown", 2, 101.0))  # the two that it may take are there
    assert started(generous, 0.0) == [("unknown", 0)]
    generous.end("p0", 10.0)
    generous.end("p1", 10.0)
    generous.offer(Wish("too long", 2, 91.0))
    assert started(generous, 10.0) == []
    generous.offer(Wish("short", 1, 89.0))
    assert started(generous, 10.0) == [("short", 0)]
    generous.end("runs", 80.0)
    assert started(generous, 80.0) == []
    generous.end("unknown", 90.0)
    generous.end("short", 95.0)
    assert started(generous, 95.0)[0] == ("large", 0)


def test_more_is_wanted_only_while_a_gap_stays() -> None:
    packing = Packing((8,), ahead=2)
    assert packing.wants
    packing.offer(Wish("small", 2))
    assert packing.wants
    packing.offer(Wish("whole", 8))
    assert not packing.wants  # it fills the node
    assert started(packing) == [("whole", 0)]
    assert not packing.wants  # no device is idle
    packing.end("whole", 1.0)
    assert packing.wants


def test_a_trial_larger_than_every_node_is_refused_in_words() -> None:
    with pytest.raises(
        DoesNotFit, match=r"t1 asks for 8 devices on one node, the largest .* has 4"
    ):
        Packing((4, 4)).offer(Wish("t1", 8))


@pytest.mark.parametrize(("gpus", "trials_", "bar"), [(64, 600, 0.97), (512, 2000, 0.96)])
def test_clusters_are_kept_busy(gpus: int, trials_: int, bar: float) -> None:
    """Degrees 1 to 8, durations that differ by a factor of four, expectations off by a third."""
    rows = []
    for n in range(trials_):
        devices = (1, 2, 1, 4, 1, 2, 8, 1, 2, 4)[n * 7 % 10]
        seconds = 60 * math.exp(math.sin(n * 12.9898) * 0.7)
        rows.append((Wish(f"t{n}", devices, seconds * math.exp(math.sin(n * 78.233) / 3)), seconds))
    held = [h for _, _, h in simulate_packing(rows, (8,) * (gpus // 8))]
    usage = usage_of(gpus, held, 0.0, max(h.ended_s for h in held))
    assert usage.reserved_until_last_launch >= bar
    assert usage.trials == trials_


def test_usage_is_shares_of_devices_and_time() -> None:
    held = [
        Held(4, 0.0, 10.0, measuring_s=5.0, own_s=8.0),
        Held(2, 5.0, 25.0, measuring_s=10.0, own_s=19.0),
        Held(2, 10.0, 12.0),
    ]
    usage = usage_of(8, held, 0.0, 20.0)
    assert usage.reserved == (40 + 30 + 4) / 160
    assert usage.reserved_until_last_launch == (40 + 10) / 80
    assert usage.measuring == (20 + 20) / 160
    assert usage.overhead_s == 1.5
    assert (usage.devices, usage.wall_s, usage.trials) == (8, 20.0, 3)


def test_looking_ahead_grows_with_the_devices() -> None:
    assert [look_ahead(n) for n in (0, 1, 8, 10_000)] == [1, 1, 6, 64]
