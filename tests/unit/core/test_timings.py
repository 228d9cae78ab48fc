"""Columns of timings: parts of them, what was known when, and rows for the archive."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.timings import Timings
from tests.unit.core.timing_case import NAN, timings

TOKENS = [[1.1, 1.5, 2.0], [2.2], [], [4.1, 4.2]]


def case() -> Timings:
    """Four requests; the third failed, the second and third are measured."""
    return timings(
        [1.0, 2.0, 3.0, 4.0],
        [1.0, 0.2, NAN, 0.2],
        ttft=[0.1, 0.2, NAN, 0.1],
        output=[3, 1, 0, 2],
        errors={2: "HTTP 500: oh"},
        first=1,
        last=3,
        tokens=TOKENS,
    )


def test_whole_is_what_has_both_ends_and_no_error() -> None:
    assert case().ok.tolist() == [True, True, False, True]
    cut = timings([0.0, 1.0], errors={0: "asked 8 tokens, got 5"})
    assert cut.ok.tolist() == [False, True]
    assert timings([0.0], ttft=NAN).ok.tolist() == [False]


def test_the_measured_part_stands_for_itself() -> None:
    part = case().measured()
    assert (len(part), part.first, part.last) == (2, 0, 2)
    assert part.scheduled_s.tolist() == [2.0, 3.0]
    assert dict(part.errors) == {1: "HTTP 500: oh"}
    assert part.token_s is not None
    assert part.token_offsets is not None
    assert part.token_s.tolist() == [2.2]
    assert part.token_offsets.tolist() == [0, 1, 1]
    assert part.measured() is part


def test_later_events_are_not_known_yet() -> None:
    then = case().until(2.1)
    assert len(then) == 4
    np.testing.assert_array_equal(then.sent_s, [1.0, 2.0, NAN, NAN])
    np.testing.assert_array_equal(then.first_token_s, [1.1, NAN, NAN, NAN])
    np.testing.assert_array_equal(then.end_s, [2.0, NAN, NAN, NAN])
    assert then.scheduled_s.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert then.output_tokens.tolist() == [3, 0, 0, 0]
    assert then.token_s is not None
    assert then.token_offsets is not None
    assert then.token_s.tolist() == [1.1, 1.5, 2.0]
    assert then.token_offsets.tolist() == [0, 3, 3, 3, 3]
    middle = case().until(1.5)  # an open request shows the tokens that it has
    assert middle.token_s is not None
    assert middle.token_s.tolist() == [1.1, 1.5]


def test_errors_stay_whenever_they_happened() -> None:
    assert case().until(0.0).errors == case().errors
    assert not case().until(1e9).ok[2]


def test_rows_come_back_from_json() -> None:
    one = case()
    rows = json.loads(json.dumps(one.rows()))
    assert rows[2]["end_s"] is None
    assert rows[2]["error"] == "HTTP 500: oh"
    assert [row["measured"] for row in rows] == [False, True, True, False]
    assert [row["token_s"] for row in rows] == TOKENS
    again = Timings.from_rows(rows)
    for name in ("scheduled_s", "sent_s", "first_token_s", "end_s", "prompt_tokens",
                 "output_tokens", "token_s", "token_offsets"):  # fmt: skip
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
    assert (again.first, again.last, again.errors) == (one.first, one.last, one.errors)


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 50)), min_size=1, max_size=20),
    st.floats(0, 2e5),
)
def test_what_is_known_only_grows(rows: list[tuple[float, float]], now: float) -> None:
    at = np.sort([at for at, _ in rows])
    whole = timings(at, [e2e for _, e2e in rows], ttft=0.0)
    early, late = whole.until(now / 2), whole.until(now)
    assert not (early.ok & ~late.ok).any()
    assert (late.ok == (whole.end_s <= now)).all()
    np.testing.assert_array_equal(early.end_s[early.ok], whole.end_s[early.ok])


def test_nothing_at_all() -> None:
    none = timings([])
    assert none.rows() == []
    assert len(Timings.from_rows([])) == 0
    assert len(none.measured()) == 0


@pytest.mark.parametrize("kept", [True, False])
def test_tokens_are_rows_only_where_they_were_kept(kept: bool) -> None:
    one = timings([0.0], tokens=[[0.1, 0.2]] if kept else None)
    assert ("token_s" in one.rows()[0]) == kept
    assert (Timings.from_rows(one.rows()).token_s is not None) == kept
