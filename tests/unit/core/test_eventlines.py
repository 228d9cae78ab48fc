from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from optikit.core.eventlines import LogReader, event_line, split_log

NOTE = {"t": 1.5, "kind": "note", "text": "a line\nof a @optikit note"}


def test_an_event_is_found_behind_what_another_process_left_without_a_line_end() -> None:
    line = event_line(NOTE)
    assert line is not None
    events, other = LogReader().feed(f"loading\n(actor pid=3) half{line}more\n")
    assert events == [NOTE]
    assert other == "loading\n(actor pid=3) half\nmore\n"


def test_what_only_the_archive_needs_makes_no_line() -> None:
    assert event_line({"t": 1.0, "kind": "record", "record": {}}) is None
    assert event_line({"t": 1.0, "kind": "process_group", "group": {}}) is None


def test_a_trial_and_a_probe_travel_without_their_measurements() -> None:
    rate = {"rate_rps": 2.0, "probes": [{"measurement": "long"}]}
    events, _ = split_log(
        (event_line(event) or "").rstrip()
        for event in (
            {"t": 1.0, "kind": "trial", "trial": {"id": "t1", "rate": rate}},
            {"t": 1.0, "kind": "trial", "trial": {"id": "t2", "rate": None}},
            {"t": 2.0, "kind": "probe", "probe": {"verdict": "pass", "measurement": {"big": 1}}},
        )
    )
    assert events[0]["trial"] == {"id": "t1", "rate": {"rate_rps": 2.0}}
    assert events[1]["trial"] == {"id": "t2", "rate": None}
    assert events[2]["probe"] == {"verdict": "pass"}


def test_a_damaged_line_is_text() -> None:
    events, other = split_log(['@optikit {"t": 1, "kind": "no', "@optikit [1]"])
    assert events == []
    assert other.count("\n") == 2


@given(st.lists(st.integers(1, 40), max_size=12), st.lists(st.text(max_size=20), max_size=8))
def test_the_pieces_of_a_log_may_be_cut_anywhere(cuts: list[int], texts: list[str]) -> None:
    wanted: list[dict[str, Any]] = []
    log = ""
    for number, text in enumerate(texts):
        event = {"t": float(number), "kind": "note", "text": text}
        wanted.append(event)
        log += f"noise {number}\n{event_line(event)}"
    reader, found, other = LogReader(), [], ""
    for cut in [*cuts, len(log)]:
        piece, log = log[:cut], log[cut:]
        events, rest = reader.feed(piece)
        found += events
        other += rest
    assert found == wanted
    assert other == "".join(f"noise {number}\n" for number in range(len(texts)))
