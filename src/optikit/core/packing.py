"""Which waiting trial starts next, and on which node: trials of several sizes without a barrier.

Largest first: a slot of eight devices that one trial left goes whole to the next of that size, if
there is one among those that wait. What was passed by often enough gets a reservation (EASY
backfilling, Lifka 1995): on the node where waiting for it is expected to cost least, others may
only start if they are expected to end before that, or leave its devices alone; and only so many of
them, so that it starts however wrong the expectations are.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from optikit.errors import DoesNotFit
from optikit.spec.record import Usage

__all__ = ["Held", "Packing", "Placed", "Wish", "look_ahead", "simulate_packing", "usage_of"]

MOST_PASSED = 16
"""Fewer drain a node for each large trial alone; more let a large one wait longer."""
_MOST_AHEAD = 64


@dataclass(frozen=True)
class Wish:
    """A trial that waits.

    ``expected_s`` is how long it is thought to hold its devices; None: nobody knows.
    """

    key: str
    devices: int
    expected_s: float | None = None


@dataclass(frozen=True)
class Placed:
    """A trial that is to start now, on the node of this index."""

    key: str
    node: int


@dataclass
class _Running:
    devices: int
    node: int
    began_s: float
    expected_s: float | None


@dataclass
class _Reserved:
    key: str
    node: int
    passed: int = 0


def look_ahead(devices: int) -> int:
    """How many trials may wait: enough to fill the devices, few enough that the sampler, which had
    to propose them without the results of those that run, is not asked in vain.

    >>> [look_ahead(devices) for devices in (1, 4, 8, 16, 64, 512)]
    [1, 3, 6, 12, 48, 64]
    """
    return max(1, min(_MOST_AHEAD, devices * 3 // 4))


class Packing:
    """Wishes in, starts out; it owns no clock.

    Args:
        nodes: devices of each node; a trial never spans two.
        ahead: how many wishes may wait at a time.
        most_passed: how many later trials may start before one that waits, until it gets a
            reservation; and how many more on the node that is reserved.
    """

    def __init__(
        self, nodes: Sequence[int], ahead: int | None = None, most_passed: int = MOST_PASSED
    ) -> None:
        self._nodes = tuple(nodes)
        self._free = list(nodes)
        self._ahead = look_ahead(sum(nodes)) if ahead is None else ahead
        self._most_passed = most_passed
        self._waiting: dict[str, Wish] = {}
        self._passed: dict[str, int] = {}
        self._running: dict[str, _Running] = {}
        self._reserved: _Reserved | None = None
        self._lasted: list[float] = []
        self._stuck = False

    @property
    def idle(self) -> int:
        """Devices that no trial holds."""
        return sum(self._free)

    @property
    def running(self) -> int:
        """Trials that run."""
        return len(self._running)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Keys of the trials that wait, oldest first."""
        return tuple(self._waiting)

    @property
    def wants(self) -> bool:
        """Whether one more wish may be of use: devices idle, and none that waits fills a gap."""
        gaps = {free for free in self._free if free}
        if len(self._waiting) >= self._ahead or not gaps:
            return False
        return self._stuck or not any(w.devices in gaps for w in self._waiting.values())

    def offer(self, wish: Wish) -> None:
        """Let a trial wait.

        Raises:
            DoesNotFit: no node has that many devices.
        """
        if not 1 <= wish.devices <= max(self._nodes):
            raise DoesNotFit(
                f"{wish.key} asks for {wish.devices} devices on one node, the largest node has "
                f"{max(self._nodes)}; give its search fewer, or name larger nodes"
            )
        self._waiting[wish.key] = wish
        self._passed[wish.key] = 0

    def next(self, now_s: float) -> Placed | None:
        """A trial that starts now; None: none that waits may. Call it until it says None."""
        if self._reserved is None:
            self._reserve(now_s)
        reserved = self._reserved
        if reserved is not None:
            wish = self._waiting[reserved.key]
            if self._free[reserved.node] >= wish.devices:
                self._reserved = None
                return self._start(wish, reserved.node, now_s)
        for wish in sorted(self._waiting.values(), key=lambda w: -w.devices):
            if reserved is not None and wish.key == reserved.key:
                continue
            # best fit: the node that has the least left over
            nodes = [
                (free, node)
                for node, free in enumerate(self._free)
                if free >= wish.devices and self._may(wish, node, now_s)
            ]
            if nodes:
                return self._start(wish, min(nodes)[1], now_s)
        self._stuck = True
        return None

    def end(self, key: str, now_s: float) -> None:
        """A trial gave its devices back."""
        run = self._running.pop(key)
        self._free[run.node] += run.devices
        self._lasted.append(now_s - run.began_s)
        self._stuck = False

    def _start(self, wish: Wish, node: int, now_s: float) -> Placed:
        for key in self._waiting:  # the older ones
            if key == wish.key:
                break
            self._passed[key] += 1
        if self._reserved is not None and self._reserved.node == node:
            self._reserved.passed += 1
        del self._waiting[wish.key], self._passed[wish.key]
        self._free[node] -= wish.devices
        self._running[wish.key] = _Running(wish.devices, node, now_s, wish.expected_s)
        return Placed(wish.key, node)

    def _reserve(self, now_s: float) -> None:
        """For the oldest trial that was passed too often; it keeps its node until it starts."""
        for key, wish in self._waiting.items():
            if self._passed[key] >= self._most_passed:
                able = [n for n, size in enumerate(self._nodes) if size >= wish.devices]
                costs = [(self._waits(wish.devices, node, now_s), node) for node in able]
                self._reserved = _Reserved(key, min(costs)[1])
                return

    def _waits(self, devices: int, node: int, now_s: float) -> float:
        """Device-seconds that it costs to wait until a node has so many devices free: those that
        the node idles, and those of the trial that does not run."""
        when, _ = self._room(devices, node, now_s)
        busy = [
            (min(when, self._ends(run, now_s)) - now_s) * run.devices
            for run in self._running.values()
            if run.node == node
        ]
        return (
            math.inf
            if when == math.inf
            else (when - now_s) * (self._nodes[node] + devices) - sum(busy)
        )

    def _room(self, devices: int, node: int, now_s: float) -> tuple[float, int]:
        """When a node is expected to have so many devices free, and how many more than those."""
        free, when = self._free[node], now_s
        ends = sorted(
            (self._ends(run, now_s), run.devices)
            for run in self._running.values()
            if run.node == node
        )
        for at, more in ends:
            if free >= devices and at > when:
                break
            free, when = free + more, max(when, at)
        return when, free - devices

    def _ends(self, run: _Running, now_s: float) -> float:
        lasts = self._lasts(run.expected_s)
        return max(now_s, run.began_s + lasts)

    def _lasts(self, expected_s: float | None) -> float:
        if expected_s is not None:
            return expected_s
        return median(self._lasted) if self._lasted else math.inf

    def _may(self, wish: Wish, node: int, now_s: float) -> bool:
        reserved = self._reserved
        if reserved is None or reserved.node != node:
            return True
        if reserved.passed >= self._most_passed:
            return False
        when, spare = self._room(self._waiting[reserved.key].devices, node, now_s)
        lasts = self._lasts(wish.expected_s)
        return wish.devices <= spare or (lasts < math.inf and now_s + lasts <= when)


@dataclass(frozen=True)
class Held:
    """Devices that a trial held, in seconds of one clock.

    ``own_s`` is the trial's start-up, measuring and teardown, None where it did not tell.
    """

    devices: int
    began_s: float
    ended_s: float
    measuring_s: float = 0.0
    own_s: float | None = None


def usage_of(devices: int, held: Iterable[Held], began_s: float, ended_s: float) -> Usage:
    """Shares of ``devices`` from ``began_s`` to ``ended_s``; a trial's times are clipped to it."""
    held = list(held)
    last = max((h.began_s for h in held), default=began_s)

    def share(until_s: float) -> float:
        area = devices * (until_s - began_s)
        used = sum(h.devices * max(0.0, min(h.ended_s, until_s) - h.began_s) for h in held)
        return used / area if area > 0 else 0.0

    wall_s = ended_s - began_s
    measuring = sum(h.devices * h.measuring_s for h in held)
    beyond = [h.ended_s - h.began_s - h.own_s for h in held if h.own_s is not None]
    return Usage(
        devices=devices,
        wall_s=wall_s,
        trials=len(held),
        reserved=share(ended_s),
        reserved_until_last_launch=share(last),
        measuring=measuring / (devices * wall_s) if wall_s > 0 else 0.0,
        overhead_s=median(beyond) if beyond else 0.0,
    )


def simulate_packing(
    trials: Iterable[tuple[Wish, float]],
    nodes: Sequence[int],
    ahead: int | None = None,
    most_passed: int = MOST_PASSED,
) -> list[tuple[str, int, Held]]:
    """The policy in virtual time.

    Args:
        trials: wishes in the order in which a search gives them, each with its true seconds.

    Returns:
        Key, node and times of every trial, in the order of their starts.
    """
    packing = Packing(nodes, ahead, most_passed)
    source = iter(trials)
    known: dict[str, tuple[Wish, float]] = {}
    ends: list[tuple[float, str]] = []
    held: list[tuple[str, int, Held]] = []
    now, more = 0.0, True
    while True:
        moved = True
        while moved:
            moved = False
            while more and packing.wants:
                trial = next(source, None)
                if trial is None:
                    more = False
                    break
                known[trial[0].key] = trial
                packing.offer(trial[0])
            while (placed := packing.next(now)) is not None:
                moved = True
                wish, lasts = known.pop(placed.key)
                heapq.heappush(ends, (now + lasts, wish.key))
                held.append((wish.key, placed.node, Held(wish.devices, now, now + lasts)))
                if more and packing.wants:
                    break
        if not ends:
            return held
        now, key = heapq.heappop(ends)
        packing.end(key, now)
