"""Server-sent events out of blocks of bytes, and the words for what went wrong."""

from __future__ import annotations

import errno
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.adapters.http import MAX_LINE, EventLines, HttpError, _words

STREAM = (
    b': hello\r\n\r\ndata: {"a": 1}\r\n\r\nevent: x\ndata:{"b": 2}\n\ndata:\n\ndata: [DONE]\n\n'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_they_arrive(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    lines = EventLines()
    found = [
        payload
        for begin, end in itertools.pairwise(places)
        for payload in lines.feed(STREAM[begin:end])
    ]
    assert found == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]


def test_a_line_without_end_is_not_kept() -> None:
    lines = EventLines()
    for _ in range(MAX_LINE // 65_536):
        lines.feed(b"x" * 65_536)
    with pytest.raises(HttpError, match="more than 1 MB"):
        lines.feed(b"x")
    with pytest.raises(HttpError, match="more than 1 MB"):
        EventLines().feed(b"data: " + b"x" * MAX_LINE + b"\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "client: [Errno 24] Too many open files"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "no"), "the server reset the connection"),
        (OSError("one\n two " + "x" * 500), "OSError: one two x"),
    ],
)
def test_an_error_in_few_words(error: Exception, words: str) -> None:
    assert _words(error).startswith(words)
    assert len(_words(error)) <= 160
