"""A job's stages in a queue, through its journal; no process, no wait but in the first tests."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from optikit.admission import Ask, admitted, asks_of, grant, refuse, waited_s
from optikit.errors import Cancelled, DoesNotFit
from optikit.journal import Journaled
from optikit.spec.queue import Need


class Notes(Journaled):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def root(self) -> Path:
        return self._folder


NEED = Need(key="j1/tune-0", team="a", kind="H100", devices=8, since_s=5.0)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def answer_when_asked(notes: Notes, answer: str) -> threading.Thread:
    """The queue's side: it answers once the ask stands in the journal."""

    def wait() -> None:
        while not notes.of_kind("stage_asked"):
            pass
        grant(notes, "j1/other-0", "elsewhere")
        if answer == "refuse":
            refuse(notes, NEED.key, "too large")
        else:
            grant(notes, NEED.key, answer)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_granted_stage_runs_on_its_node_and_gives_its_place_back(notes: Notes) -> None:
    queue = answer_when_asked(notes, "node-1")
    with admitted(notes, NEED, poll_s=0.001) as node:
        assert node == "node-1"
        assert asks_of(notes.events())[NEED.key].open
    queue.join()
    ask = asks_of(notes.events())[NEED.key]
    assert (ask.need, ask.node, ask.open) == (NEED, "node-1", False)


def test_a_refused_stage_is_an_error_with_the_queues_reason(notes: Notes) -> None:
    queue = answer_when_asked(notes, "refuse")
    with pytest.raises(DoesNotFit, match=r"^too large$"), admitted(notes, NEED, poll_s=0.001):
        pytest.fail("it was not admitted")
    queue.join()
    assert not asks_of(notes.events())[NEED.key].open


def test_an_answer_of_an_earlier_life_is_none(notes: Notes) -> None:
    """The journal keeps what was granted before; who asks again waits again."""
    grant(notes, NEED.key, "node-1")

    def end() -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled), admitted(notes, NEED, end, poll_s=0.001):
        pytest.fail("it was not admitted")
    assert asks_of(notes.events())[NEED.key].left_s is not None


def test_events_are_read_in_parts(notes: Notes) -> None:
    notes.event("stage_asked", key=NEED.key, need=NEED.model_dump(mode="json"))
    first = asks_of(notes.events())
    size = notes.journal.stat().st_size
    grant(notes, NEED.key, "n")
    again = asks_of(notes.events(size), first)
    assert again is first
    assert first[NEED.key].node == "n"


def test_only_the_wait_counts() -> None:
    """Up to the grant, to the driver's end, or to now; a clock that went back gives no negative."""
    asks = [
        Ask(NEED, asked_s=10.0, granted_s=30.0, left_s=90.0),
        Ask(NEED, asked_s=10.0, left_s=15.0),
        Ask(NEED, asked_s=10.0),
        Ask(NEED, asked_s=10.0, granted_s=4.0),
    ]
    assert waited_s(asks, now_s=17.0) == 7.0 + 5.0 + 7.0 + 0.0
