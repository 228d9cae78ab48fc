from __future__ import annotations

from optikit.service.sessions import Sessions


class Clock:
    """Of which the test says what it shows."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_stands_for_its_token_until_it_ends() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    one, other = sessions.begin("digest-1"), sessions.begin("digest-2")
    assert one != other
    assert len(one) >= 43, "256 bits"
    assert sessions.token_sha256(one) == "digest-1"
    sessions.end(one)
    sessions.end(one)
    assert sessions.token_sha256(one) is None
    assert sessions.token_sha256("unknown") is None
    clock.now += 12 * 3600 - 1
    assert sessions.token_sha256(other) == "digest-2"
    clock.now += 1
    assert sessions.token_sha256(other) is None


def test_many_sessions_of_one_token_end_the_oldest_of_it_alone() -> None:
    sessions = Sessions(Clock())
    others = sessions.begin("other")
    mine = [sessions.begin("mine") for _ in range(70)]
    there = [one for one in mine if sessions.token_sha256(one) == "mine"]
    assert there == mine[-64:]
    assert sessions.token_sha256(others) == "other"


def test_ids_are_kept_as_digests() -> None:
    sessions = Sessions(Clock())
    made = sessions.begin("d")
    assert made not in repr(vars(sessions))
