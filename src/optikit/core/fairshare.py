"""Whose stage starts next on a cluster that teams share, and on which node.

*Share.* Device-hours, of whatever kind, are shared by weight. The team with the lowest

    (U + R + E) / weight,    U(t) = integral of held(s) exp(-(t - s) / tau) ds

is first: U is what it held over a window that fades (the decayed usage of Slurm's fair-share
factor), R what its running stages are expected to take within a horizon (the charge at the start of
start-time fair queueing, Goyal et al. 1996, as far as it is near), E what its next stage would take
within it. So what is levelled is what each team will have held a horizon from now: many devices
that fall free at once do not all go to one team, small teams with large stages do not run ahead,
and a long stage does not cost its team devices long before it used them. A team that waits keeps
its level while those of others grow: it becomes first. One that holds something already, and with
its next stage would hold much more than its part of the devices, comes after those that would not:
stages are not preempted, so what it takes in too many at once can only be waited out.

*Line.* Within a team the older job is first; one unit of priority is worth ``ageing_s`` of age, so
a low priority waits longer, not for ever.

*Gang.* A stage starts with all its devices on one node, the one with the least left over, or not
at all. Where the first in line finds no node, the node that is soonest free for it is reserved
(EASY backfilling, Lifka 1995): others start there only on devices that it will not need, or if they
surely end before. It keeps the node until it starts or is cancelled, whoever comes. At most a
share of the nodes is reserved at a time. Where its first has none, a team's younger stages start
after all firsts, and pass it a bounded number of times: gaps are filled by all teams
in turn, not by the one that happens to have a small stage in front.

There are no rounds and no barrier: a stage of any job starts whenever this answers.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from optikit.core.ledger import Account
from optikit.core.machine import Machine
from optikit.errors import BadInput, DoesNotFit, UnknownName
from optikit.spec.queue import Need, Node, Team

__all__ = ["FairShare", "Start"]

DAY_S = 86_400.0
HOUR_S = 3_600.0


@dataclass(frozen=True)
class Start:
    """A stage that is to start now."""

    key: str
    node: str


@dataclass(frozen=True)
class _Run:
    need: Need
    machine: Machine
    began_s: float


_Lines = dict[int, list[tuple[float, int, str]]]
"""By devices asked for: a heap of (place in the line, number, key)."""


class FairShare:
    """Needs in, starts out; it owns no clock, and the same calls give the same answers.

    Args:
        nodes: of the cluster.
        teams: who may ask.
        window_s: tau, the time constant with which past use fades.
        horizon_s: how far ahead what runs is counted.
        ageing_s: waiting time that is worth one unit of priority.
        burst: a team that would hold more than so many times its part of all devices comes after
            those that would not.
        most_reserved: share of a kind's nodes that may be reserved at a time; one always may.
        most_passed: younger stages of its own team that may start before one that waits for a
            reservation.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        teams: Iterable[Team],
        window_s: float = DAY_S,
        horizon_s: float = HOUR_S,
        ageing_s: float = HOUR_S,
        most_reserved: float = 0.25,
        burst: float = 1.5,
        most_passed: int = 24,
    ) -> None:
        self.window_s, self.horizon_s = window_s, horizon_s
        self.ageing_s, self.most_reserved, self.burst = ageing_s, most_reserved, burst
        self.most_passed = most_passed
        self._machines = {node.name: Machine(node, node.devices) for node in nodes}
        self._of_kind: dict[str, list[Machine]] = defaultdict(list)
        for machine in self._machines.values():
            self._of_kind[machine.node.kind].append(machine)
        self._teams = {team.name: team for team in teams}
        self._accounts: dict[str, Account] = defaultdict(Account)
        self._levels: dict[str, tuple[float, float]] = {}
        """Moment and level of each team, until what it holds changes."""
        self._held: dict[tuple[str, str], int] = defaultdict(int)
        self._waiting: dict[str, Need] = {}
        self._waiting_of: dict[str, int] = defaultdict(int)
        self._running: dict[str, _Run] = {}
        self._lines: dict[str, dict[str, _Lines]] = defaultdict(lambda: defaultdict(dict))
        self._kept: dict[str, Machine] = {}
        self._passed: dict[str, int] = defaultdict(int)
        self._ended, self._mean_s = 0, HOUR_S
        self._number = 0

    # -- who asks

    def set_team(self, team: Team) -> None:
        """A new team, or another weight or quota of a known one.

        What runs goes on; what waits and is above a lowered quota waits until it is raised, and its
        team's younger stages with it.
        """
        self._teams[team.name] = team
        for key in [key for key in self._kept if self._waiting[key].team == team.name]:
            self._release(self._waiting[key])  # within the new quota it is reserved anew

    def set_nodes(self, nodes: Iterable[Node]) -> None:
        """Nodes that came, and went: on one that is gone nothing starts, what ran there may end."""
        now = {node.name: node for node in nodes}
        gone = [m for m in self._machines.values() if now.get(m.node.name) != m.node]
        for machine in gone:
            del self._machines[machine.node.name]
            self._of_kind[machine.node.kind].remove(machine)
            if machine.kept_for is not None:
                self._release(self._waiting[machine.kept_for])
        for node in now.values():
            if node.name not in self._machines:
                self._machines[node.name] = machine = Machine(node, node.devices)
                self._of_kind[node.kind].append(machine)

    def adopt(self, need: Need, node: str, began_s: float) -> None:
        """A stage that runs already: it was started before this queue was.

        Raises:
            BadInput: its key is in use.
        """
        if need.key in self._waiting or need.key in self._running:
            raise BadInput(f"{need.key} waits or runs already")
        gone = Machine(Node(name=node, kind=need.kind, devices=need.devices), need.devices)
        self._occupy(need, self._machines.get(node, gone), began_s)

    def remember(self, team: str, devices: int, began_s: float, ended_s: float) -> None:
        """What a team held before this queue was; call it before time goes on."""
        self._accounts[team].remember(devices, began_s, ended_s, self.window_s)
        self._levels.pop(team, None)

    def submit(self, need: Need) -> None:
        """Let a stage wait.

        Raises:
            BadInput: its key is in use.
            UnknownName: nobody knows its team.
            DoesNotFit: no node, or no quota, can ever serve it; says what there is.
        """
        if need.key in self._waiting or need.key in self._running:
            raise BadInput(f"{need.key} waits or runs already; submit it once")
        team = self._teams.get(need.team)
        if team is None:
            raise UnknownName(f"no team {need.team!r}; known: {', '.join(sorted(self._teams))}")
        largest = max((m.node.devices for m in self._of_kind.get(need.kind, ())), default=0)
        if need.devices > largest:
            raise DoesNotFit(
                f"{need.key} asks for {need.devices} {need.kind} on one node; the cluster has "
                f"{self._offers()}. Ask for fewer, or for a kind that is there."
            )
        quota = team.quota.get(need.kind)
        if quota is not None and need.devices > quota:
            raise DoesNotFit(
                f"{need.key} asks for {need.devices} {need.kind}, the quota of team "
                f"{team.name} is {quota}. Ask for fewer, or have the quota raised."
            )
        self._waiting[need.key] = need
        self._waiting_of[need.team] += 1
        self._number += 1
        line = self._lines[need.kind][need.team].setdefault(need.devices, [])
        place = need.since_s - need.priority * self.ageing_s
        heapq.heappush(line, (place, self._number, need.key))

    def cancel(self, key: str) -> bool:
        """Take a stage out of the line; False: it does not wait."""
        need = self._waiting.pop(key, None)
        if need is None:
            return False
        self._waiting_of[need.team] -= 1
        self._passed.pop(key, None)
        self._release(need)
        return True

    def end(self, key: str, now_s: float) -> None:
        """A stage gave its devices back."""
        run = self._running.pop(key)
        run.machine.free += run.need.devices
        del run.machine.running[key]
        self._ended += 1
        self._mean_s += (now_s - run.began_s - self._mean_s) / self._ended
        self._held[run.need.team, run.need.kind] -= run.need.devices
        self._accounts[run.need.team].end(key, now_s, self.window_s)
        self._levels.pop(run.need.team, None)

    # -- what starts

    def next(self, now_s: float) -> Start | None:
        """A stage that starts now; None: none that waits may. Call it until it says None."""
        for kind, machines in self._of_kind.items():
            start = self._next_of(kind, machines, now_s)
            if start is not None:
                return start
        return None

    def _next_of(self, kind: str, machines: list[Machine], now_s: float) -> Start | None:
        for key, machine in self._kept.items():
            need = self._waiting[key]
            if need.kind == kind and machine.free >= need.devices and self._within_quota(need):
                return self._start(need, machine, now_s)
        widest = max((machine.free for machine in machines), default=0)
        if not widest:
            return None
        teams, beyond = self._order(kind, now_s)
        for some, passing in ((teams, False), (teams, True), (beyond, False)):
            for team in some:
                start = self._first_of(kind, team, widest, now_s, passing)
                if start is not None:
                    return start
        return None

    def _first_of(
        self, kind: str, team: str, widest: int, now_s: float, passing: bool
    ) -> Start | None:
        """A team's next stage that finds a node, where the line allows it."""
        passed = None
        for need in self._firsts(kind, team):
            if not self._within_quota(need):
                return None
            place = self._place(need, widest, now_s)
            if place is not None:
                if passed is not None:
                    self._passed[passed] += 1
                return self._start(need, place, now_s)
            if passed is None and not self._keeps(need):  # who passes reserves nothing
                if not passing or self._passed[need.key] >= self.most_passed:
                    return None  # what its own team has behind it does not pass it
                passed = need.key
        return None

    def _order(self, kind: str, now_s: float) -> tuple[list[str], list[str]]:
        """Teams that wait for the kind, the one furthest below its share first; and those that
        would hold much more than their part of the devices."""
        teams: list[tuple[float, str]] = []
        beyond: list[tuple[float, str]] = []
        part, promised = self._part(), self._promised()
        for team in self._lines[kind]:
            firsts = self._firsts(kind, team)
            if firsts:
                need, weight = firsts[0], self._teams[team].weight
                ahead = need.devices * min(self.horizon_s, self._expected_s(need)) / weight
                held = self._accounts[team].held + promised[team]
                held -= need.devices if need.key in self._kept else 0
                much = held > 0 and held + need.devices > self.burst * part * weight
                (beyond if much else teams).append((self.level(team, now_s) + ahead, team))
        return [team for _, team in sorted(teams)], [team for _, team in sorted(beyond)]

    def _promised(self) -> dict[str, int]:
        """Devices of each team's reservations."""
        promised: dict[str, int] = defaultdict(int)
        for key in self._kept:
            promised[self._waiting[key].team] += self._waiting[key].devices
        return promised

    def _part(self) -> float:
        """Devices for each unit of weight of the teams that wait or run now."""
        active = {name for name, count in self._waiting_of.items() if count}
        active |= {name for name, account in self._accounts.items() if account.running}
        weights = sum(self._teams[team].weight for team in active if team in self._teams)
        return sum(m.node.devices for m in self._machines.values()) / max(weights, 1e-9)

    def _expected_s(self, need: Need) -> float:
        return need.expected_s or min(self._mean_s, need.bound_s or math.inf)

    def _firsts(self, kind: str, team: str) -> list[Need]:
        """The first in line for each number of devices, oldest first."""
        heads = []
        for line in self._lines[kind][team].values():
            while line and line[0][2] not in self._waiting:  # started, or cancelled
                heapq.heappop(line)
            if line:
                heads.append(line[0])
        return [self._waiting[key] for _, _, key in sorted(heads)]

    def _within_quota(self, need: Need) -> bool:
        """With what its team was promised before it."""
        quota = self._teams[need.team].quota.get(need.kind)
        if quota is None:
            return True
        promised = sum(
            other.devices
            for other in map(self._waiting.__getitem__, self._kept)
            if (other.team, other.kind) == (need.team, need.kind) and other.key != need.key
        )
        return self.held(need.team, need.kind) + promised + need.devices <= quota

    def _place(self, need: Need, widest: int, now_s: float) -> Machine | None:
        if need.devices > widest:
            return None
        fits = [
            m
            for m in self._of_kind[need.kind]
            if m.free >= need.devices and self._may(need, m, now_s)
        ]
        return min(fits, key=lambda m: m.free, default=None)

    def _may(self, need: Need, machine: Machine, now_s: float) -> bool:
        """Whether a stage on this machine leaves alone whom it is reserved for."""
        if machine.kept_for in (None, need.key):
            return True
        when, spare = machine.room(self._waiting[machine.kept_for].devices)
        if when == math.inf:
            return False
        return need.devices <= spare or (need.bound_s is not None and now_s + need.bound_s <= when)

    def _keeps(self, need: Need) -> bool:
        """Whether a node is reserved for the stage, now at the latest."""
        if need.key in self._kept:
            return True
        machines = self._of_kind[need.kind]
        kept = sum(machine.kept_for is not None for machine in machines)
        if kept >= max(1, len(machines) * self.most_reserved):
            return False
        able = [m for m in machines if m.node.devices >= need.devices and m.kept_for is None]
        if not able:
            return False
        soonest = min(able, key=lambda m: (m.room(need.devices)[0], -m.free))
        self._kept[need.key] = soonest
        soonest.kept_for = need.key
        return True

    def _release(self, need: Need) -> None:
        machine = self._kept.pop(need.key, None)
        if machine is not None:
            machine.kept_for = None

    def _start(self, need: Need, machine: Machine, now_s: float) -> Start:
        self._release(need)
        self._passed.pop(need.key, None)
        del self._waiting[need.key]
        self._waiting_of[need.team] -= 1
        self._occupy(need, machine, now_s)
        return Start(need.key, machine.node.name)

    def _occupy(self, need: Need, machine: Machine, now_s: float) -> None:
        machine.free -= need.devices
        latest = math.inf if need.bound_s is None else now_s + need.bound_s
        machine.running[need.key] = need.devices, latest
        self._running[need.key] = _Run(need, machine, now_s)
        self._held[need.team, need.kind] += need.devices
        until_s = now_s + self._expected_s(need)
        self._accounts[need.team].start(need.key, need.devices, until_s, now_s, self.window_s)
        self._levels.pop(need.team, None)

    # -- what is seen of it

    def held(self, team: str, kind: str) -> int:
        """Devices of a kind that a team holds now."""
        return self._held[team, kind]

    def level(self, team: str, now_s: float) -> float:
        """Device-seconds per weight, past and promised; the lowest is first."""
        at_s, level = self._levels.get(team, (math.nan, 0.0))
        if at_s != now_s:
            level = self._accounts[team].level(now_s, self.window_s, self.horizon_s)
            self._levels[team] = now_s, level
        return level / self._teams[team].weight

    @property
    def waiting(self) -> tuple[str, ...]:
        """Keys of the stages that wait, in the order in which they came."""
        return tuple(self._waiting)

    @property
    def running(self) -> tuple[str, ...]:
        """Keys of the stages that run, in the order of their starts."""
        return tuple(self._running)

    def _offers(self) -> str:
        nodes: dict[tuple[str, int], int] = defaultdict(int)
        for machine in self._machines.values():
            nodes[machine.node.kind, machine.node.devices] += 1
        found = [f"{count} x {size} {kind}" for (kind, size), count in sorted(nodes.items())]
        return ", ".join(found) or "no nodes"
