from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.adapters import process
from optikit.adapters.process import ProcessStat, members_among, parse_stat
from optikit.spec.endpoint import ProcessGroup

GROUP = ProcessGroup(pgid=100, started_ticks=5000, boot_id="boot-a", what="server")


def stat(
    pid: int, *, pgid: int = 100, session: int = 100, started: int = 5000, state: str = "S"
) -> ProcessStat:
    return ProcessStat(pid=pid, state=state, pgid=pgid, session=session, started_ticks=started)


@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=16),
    pid=st.integers(1, 4_000_000),
    ticks=st.integers(0, 2**60),
)
def test_any_command_name_is_read_over(name: str, pid: int, ticks: int) -> None:
    middle = " ".join(["0"] * 15)
    line = f"{pid} ({name}) R 1 {pid} 7 {middle} {ticks} 123 456"

    assert parse_stat(line) == ProcessStat(pid, "R", pgid=pid, session=7, started_ticks=ticks)


def test_a_real_line_of_proc() -> None:
    line = (
        "13424 (python3 (x) S) S 13422 13421 13421 0 -1 4194304 90210 0 0 0 712 98 0 0 20 0 6 0 "
        "306370 7012540416 160613 18446744073709551615 1 1 0 0 0 0 0 16781312 17002 0 0 0 17 1"
    )

    assert parse_stat(line) == ProcessStat(13424, "S", 13421, 13421, 306370)


def test_members_are_those_of_the_group_or_its_session_smallest_first() -> None:
    everyone = [
        stat(103, pgid=103),  # made a group of its own, still of the session
        stat(100),
        stat(102, session=7),  # of the group alone
        stat(200, pgid=200, session=200),
    ]

    assert members_among(GROUP, everyone) == [100, 102, 103]


@pytest.mark.parametrize("state", ["Z", "X", "x"])
def test_the_dead_are_no_members(state: str) -> None:
    assert members_among(GROUP, [stat(100, state=state), stat(101)]) == [101]


def test_children_count_when_their_leader_is_gone() -> None:
    assert members_among(GROUP, [stat(101, started=5003)]) == [101]


def test_a_leader_with_another_start_means_that_the_number_was_reused() -> None:
    assert members_among(GROUP, [stat(100, started=9000), stat(101, started=9001)]) == []


def test_what_began_before_the_leader_is_of_an_older_group() -> None:
    assert members_among(GROUP, [stat(101, started=4999)]) == []


def test_after_a_reboot_nobody_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_stats", lambda: iter([stat(100)]))
    monkeypatch.setattr(process, "boot_id", lambda: "boot-b")
    assert process.members(GROUP) == []

    monkeypatch.setattr(process, "boot_id", lambda: "boot-a")
    assert process.members(GROUP) == [100]


class World:
    """Processes that die of a signal, or do not."""

    def __init__(self, dies_of: dict[int, set[int]]) -> None:
        self.dies_of = dies_of
        self.sent: list[tuple[int, int]] = []
        self.now = 0.0

    def members(self, group: ProcessGroup) -> list[int]:
        return sorted(self.dies_of)

    def kill(self, pid: int, number: int) -> None:
        self.sent.append((pid, int(number)))
        if number in self.dies_of.get(pid, ()):
            del self.dies_of[pid]

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World({})
    monkeypatch.setattr(process, "members", made.members)
    monkeypatch.setattr(process, "os", SimpleNamespace(kill=made.kill))
    clock = SimpleNamespace(sleep=made.sleep, monotonic=lambda: made.now)
    monkeypatch.setattr(process, "time", clock)
    return made


def test_who_obeys_sigterm_is_never_killed(world: World) -> None:
    world.dies_of = {100: {15, 9}, 101: {15, 9}}

    assert process.end_group(GROUP) == []
    assert world.sent == [(100, 15), (101, 15)]


def test_the_stubborn_are_killed_after_the_grace(world: World) -> None:
    world.dies_of = {100: {15, 9}, 101: {9}}

    assert process.end_group(GROUP, grace_s=2.0) == []
    assert (101, 9) in world.sent
    assert (100, 9) not in world.sent
    assert 2.0 <= world.now < 2.5


def test_who_survives_sigkill_is_named(world: World) -> None:
    world.dies_of = {100: {15}, 101: set()}

    assert process.end_group(GROUP, grace_s=1.0, kill_s=1.0) == [101]


def test_an_empty_group_gets_no_signal(world: World) -> None:
    assert process.end_group(GROUP) == []
    assert world.sent == []


def test_a_port_that_somebody_listens_on_is_in_use() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert process.port_in_use(port)
    assert not process.port_in_use(port)


def test_a_free_port_lies_below_the_ephemeral_range_and_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_ephemeral_start", lambda: 20_000)
    taken: set[int] = set()

    def in_use(port: int) -> bool:
        taken.add(port)
        return len(taken) < 3

    monkeypatch.setattr(process, "port_in_use", in_use)
    port = process.free_port()
    assert 15_000 <= port < 20_000
    assert len(taken) >= 3


def test_no_free_port_is_an_error_and_not_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "port_in_use", lambda port: True)
    with pytest.raises(OSError, match="no free port"):
        process.free_port()
