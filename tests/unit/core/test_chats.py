from __future__ import annotations

from typing import Any

import pytest

from optikit.core.chats import chat_of, chat_of_pair, find_field

ASKED = {"role": "user", "content": "Why?"}
TOLD = {"role": "assistant", "content": "Because."}


def test_role_and_content_stay_as_they_are() -> None:
    chat = chat_of([ASKED, TOLD | {"tool_calls": None}])
    assert chat.messages == (ASKED, TOLD)
    assert not chat.blank


def test_sharegpt_is_brought_to_the_same_form() -> None:
    said = [("system", "Be short."), ("human", "Why?"), ("gpt", "Because.")]
    chat = chat_of([{"from": speaker, "value": text, "weight": 1} for speaker, text in said])
    assert chat.messages == ({"role": "system", "content": "Be short."}, ASKED, TOLD)


def test_text_parts_are_put_together_and_others_refused() -> None:
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
    assert chat_of([{"role": "user", "content": parts}]).messages == (ASKED,)
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(ValueError, match="not text but image_url"):
        chat_of([{"role": "user", "content": [picture]}])


def test_a_call_of_a_tool_needs_no_words() -> None:
    calls = [{"type": "function", "function": {"name": "clock", "arguments": "{}"}}]
    tools = [{"type": "function", "function": {"name": "clock"}}]
    chat = chat_of([{"role": "assistant", "content": None, "tool_calls": calls}], tools)
    assert chat.messages == ({"role": "assistant", "content": "", "tool_calls": calls},)
    assert chat.tools == tuple(tools)
    assert not chat.blank


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("hello", "a list of messages, found str"),
        (["hello"], "a message is an object, found str"),
        ([{"content": "x"}], "needs a role"),
        ([{"role": 1, "content": "x"}], "needs a role"),
        ([{"role": "user", "content": None}], "found NoneType"),
        ([{"from": "narrator", "value": "x"}], "unknown speaker 'narrator'"),
    ],
)
def test_what_is_no_chat_is_refused(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        chat_of(value)


def test_no_messages_and_empty_ones_are_blank() -> None:
    assert chat_of([]).blank
    assert chat_of([{"role": "user", "content": " "}]).blank


def test_a_pair_is_one_turn() -> None:
    assert chat_of_pair(["Why?"], "Because.").messages == (ASKED, TOLD)
    three = chat_of_pair(["Sort.", "", "3 1 2"], "1 2 3").messages
    assert three[0]["content"] == "Sort.\n\n3 1 2"
    assert chat_of_pair([[ASKED]], [TOLD]).messages == (ASKED, TOLD)
    with pytest.raises(ValueError, match="two texts"):
        chat_of_pair(["Why?"], 3)


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([{"prompt": "x", "messages": [ASKED]}], "messages"),
        ([{"prompt": "x", "messages": []}, {"prompt": "y", "messages": [ASKED]}], "messages"),
        ([{"dialog": [{"from": "human", "value": "x"}]}], "dialog"),
        ([{"messages": ["no", "chat"], "body": "x"}], "body"),
        ([{"instruction": "a", "output": "b", "text": "a b"}], "text"),
        ([{"prompt": "a", "completion": "b"}], "prompt+completion"),
        ([{"prompt": [ASKED], "completion": [TOLD]}], "prompt+completion"),
        ([{"instruction": "a", "input": "", "output": "b"}], "instruction+input+output"),
        ([{"instruction": "a", "output": "b"}], "instruction+output"),
        ([{"question": "a", "answer": 3}], "question"),
        ([{"id": 1, "poem": None}, {"id": 2, "poem": "roses"}], "poem"),
        ([{"left": "a", "right": "b"}], None),
        ([{"id": 1}], None),
        ([], None),
    ],
)
def test_the_field_is_found(rows: list[dict[str, Any]], field: str | None) -> None:
    assert find_field(rows) == field
