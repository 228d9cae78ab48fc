"""One answer: what is a token, when it came, and what is not as asked."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.adapters.http import HttpError
from optikit.loadgen._answer import SLACK, Answer

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
END = {"choices": [{"delta": {"content": ""}, "finish_reason": "length"}]}


def text(words: str) -> dict[str, object]:
    return {"choices": [{"text": words, "finish_reason": None}], "usage": None}


def chat(words: str, field: str = "content") -> dict[str, object]:
    return {"choices": [{"delta": {field: words}}]}


def usage(**changes: object) -> dict[str, object]:
    return {"choices": [], "usage": USAGE | changes}


def fed(*events: dict[str, object] | bytes, asked: int = 3, done: bool = True) -> Answer:
    """An answer whose events came at 1, 2, 3 ... seconds."""
    answer = Answer(asked, keep=True)
    for second, event in enumerate(events, start=1):
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        assert not answer.take(float(second), payload)
    if done:
        assert answer.take(99.0, b"[DONE]")
    return answer


@pytest.mark.parametrize(
    ("events", "first", "times"),
    [
        ([text("a"), text("b"), text("c"), usage()], 1, [1, 2, 3]),
        ([ROLE, chat("a"), chat("b"), chat("c"), END, usage()], 2, [2, 3, 4]),
        ([ROLE, chat("a", "reasoning_content"), chat("b"), chat("c"), usage()], 2, [2, 3, 4]),
        ([text("ab"), text("c"), usage()], 1, [1, 2]),  # two tokens in an event
        ([text(""), text(""), text("a"), text("b"), text("c"), usage()], 3, [3, 4, 5]),
        ([text(""), text("é"), text("c"), usage()], 1, [1, 2, 3]),  # half a character
        ([text("a"), text("b"), END, usage()], 1, [1, 2, 3]),  # the last token has no text
        ([text(""), text(""), text(""), usage()], 1, [1, 2, 3]),  # special tokens only
        ([text('"text": "'), text('\\"'), text(" "), usage()], 1, [1, 2, 3]),
    ],
)
def test_what_is_a_token(events: list[dict[str, object]], first: float, times: list[float]) -> None:
    answer = fed(*events)
    answer.close()
    answer.check(7)
    assert answer.first_s == first
    assert list(answer.times) == times
    assert answer.end_s == len(events)
    assert (answer.prompt_tokens, answer.output_tokens) == (7, 3)


def test_usage_may_come_with_the_last_token() -> None:
    answer = fed(text("a"), text("b"), text("c") | {"usage": USAGE})
    answer.close()
    assert answer.output_tokens == 3


def test_times_are_kept_on_demand() -> None:
    answer = Answer(3)
    answer.take(1.0, json.dumps(text("a")).encode())
    assert len(answer.times) == 0
    assert answer.first_s == 1.0


@given(st.text())
def test_a_model_cannot_write_an_event_that_counts_twice(words: str) -> None:
    for ascii_only in (True, False):
        answer = Answer(3, keep=True)
        payload = json.dumps(text(words), ensure_ascii=ascii_only).encode(errors="replace")
        answer.take(1.0, payload)
        assert len(answer.times) == (words != "")
        assert math.isnan(answer.first_s) == (words == "")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"{not json", "unreadable event: b'{not json'"),
        (b"[1]", r"unreadable event"),
        (b'{"text": "x"', "unreadable event"),
        (b"[" * 100_000, "unreadable event"),
        (b'{"error": {"message": "engine is dead"}}', "error in the stream: engine is dead"),
        (b'{"error": "gone"}', "error in the stream: gone"),
        (b'{"object": "error", "message": "too long"}', "error in the stream: too long"),
    ],
)
def test_an_event_that_ends_a_request(payload: bytes, error: str) -> None:
    with pytest.raises(HttpError, match=error) as caught:
        fed(text("a"), payload)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "events",
    [
        [{"choices": 3}],
        [{"choices": [None]}],
        [{"choices": [{}]}],
        [{"choices": [{"delta": None}]}],
        [{"usage": 5}],
        [{}],
    ],
)
def test_odd_events_are_no_tokens(events: list[dict[str, object]]) -> None:
    answer = fed(*events, text("a"), usage(completion_tokens=1), asked=1)
    answer.close()
    assert answer.first_s == 2.0


@pytest.mark.parametrize(
    ("events", "done", "error"),
    [
        ([text("a"), text("b"), text("c"), usage()], False, "ended without its"),
        ([text("a"), text("b"), text("c")], True, "asked for usage, got none"),
        ([usage(prompt_tokens=None)], True, "asked for usage, got {"),
        ([usage(completion_tokens=-1)], True, "asked for usage, got {"),
        ([usage()], True, "the answer has no token"),
        ([ROLE, usage(completion_tokens=0)], True, "the answer has no token"),
    ],
)
def test_what_is_no_whole_answer(events: list[dict[str, object]], done: bool, error: str) -> None:
    answer = fed(*events, done=done)
    with pytest.raises(HttpError, match=error):
        answer.close()


def test_a_cut_answer_has_no_end() -> None:
    answer = fed(text("a"), done=False)
    with pytest.raises(HttpError):
        answer.close()
    assert math.isnan(answer.end_s)
    assert answer.first_s == 1.0


@pytest.mark.parametrize(
    ("asked", "prompt", "shorter", "error"),
    [
        (3, 7, False, None),
        (4, 7, False, "asked 4 tokens, got 3"),
        (4, 7, True, None),
        (2, 7, True, "asked 2 tokens, got 3"),
        (3, 512, False, "asked 512 prompt tokens, the server counted 7"),
    ],
)
def test_lengths_are_those_asked(asked: int, prompt: int, shorter: bool, error: str | None) -> None:
    answer = fed(text("a"), text("b"), text("c"), usage(), asked=asked)
    answer.close()
    if error is None:
        answer.check(prompt, shorter=shorter)
    else:
        with pytest.raises(HttpError, match=f"^{error}$"):
            answer.check(prompt, shorter=shorter)


def test_an_endless_answer_is_cut() -> None:
    answer = Answer(3)
    payload = json.dumps(text("a")).encode()
    for _ in range(3 + SLACK):
        answer.take(1.0, payload)
    with pytest.raises(HttpError, match="asked 3 tokens, got more than 11"):
        answer.take(1.0, payload)


def test_blank_events_for_ever_are_not_kept() -> None:
    answer = Answer(3, keep=True)
    payload = json.dumps(text("")).encode()
    for _ in range(1000):
        answer.take(1.0, payload)
    assert len(answer._blanks) == 4
