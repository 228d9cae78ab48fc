"""Chats and question-and-answer pairs as datasets write them, brought to one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CHAT_FIELDS", "PAIRS", "Chat", "chat_of", "chat_of_pair", "find_field"]

CHAT_FIELDS = ("messages", "conversations", "conversation", "chat", "dialog")
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
)
TEXT_FIELDS = ("text", "content", "prompt", "instruction", "question", "document", "body")
_INPUT = "input"
"""What an instruction works on; it may be empty."""
_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Names of speakers in the ShareGPT form, and the roles that chat templates know."""


@dataclass(frozen=True)
class Chat:
    """Messages in the order they were said."""

    messages: tuple[Mapping[str, Any], ...]
    """``role`` and ``content`` (text), and whatever else the dataset has for the chat template,
    e.g. ``tool_calls``."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON schemas of the tools that the chat could call."""

    @property
    def blank(self) -> bool:
        """Nobody says or calls anything."""
        return not any(m["content"].strip() or m.get("tool_calls") for m in self.messages)


def chat_of(value: object, tools: object = None) -> Chat:
    """The chat that a field holds: ``{role, content}`` or ShareGPT's ``{from, value}``.

    A ``content`` may be a list of text parts, as in OpenAI's API: they are put together. Keys
    without a value are left out (a parquet column gives every message every key).

    Raises:
        ValueError: the value is no chat; the message says why.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError(f"a chat is a list of messages, found {type(value).__name__}")
    schemas = tools if isinstance(tools, list) else []
    return Chat(
        tuple(_message(one) for one in value),
        tuple(schema for schema in schemas if isinstance(schema, Mapping)),
    )


def chat_of_pair(asked: Sequence[object], answer: object) -> Chat:
    """One turn: what was asked (its parts divided by an empty line), and the answer.

    Both may be lists of messages instead of text; then the answer's follow the question's.

    Raises:
        ValueError: a part is neither text nor a list of messages.
    """
    if len(asked) == 1 and isinstance(asked[0], list) and isinstance(answer, list):
        return chat_of([*asked[0], *answer])
    parts = [part for part in asked if part is not None and part != ""]
    if not all(isinstance(part, str) for part in [*parts, answer]):
        raise ValueError("a pair is two texts")
    question = "\n\n".join(str(part) for part in parts)
    return Chat(({"role": "user", "content": question}, {"role": "assistant", "content": answer}))


def find_field(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The field that holds the text, None where nothing fits; pairs are joined by ``+``.

    In this order: a chat, a field ``text``, a pair, another usual name, the only field that is
    text in any row. Each is looked for in all rows before the next one.
    """
    for name in CHAT_FIELDS:
        if any(_looks_like_chat(row.get(name)) for row in rows):
            return name
    textual = {name for row in rows for name, value in row.items() if isinstance(value, str)}
    if "text" in textual:
        return "text"
    for question, answer in PAIRS:
        if any(_looks_like_pair(row.get(question), row.get(answer)) for row in rows):
            between = [_INPUT] if question == "instruction" and _INPUT in textual else []
            return "+".join([question, *between, answer])
    likely = [name for name in TEXT_FIELDS if name in textual]
    return (likely or sorted(textual))[0] if likely or len(textual) == 1 else None


def _looks_like_chat(value: object) -> bool:
    if not isinstance(value, list) or not value or not isinstance(value[0], Mapping):
        return False
    return {"role", "content"} <= value[0].keys() or {"from", "value"} <= value[0].keys()


def _looks_like_pair(question: object, answer: object) -> bool:
    texts = isinstance(question, str) and isinstance(answer, str)
    return texts or (_looks_like_chat(question) and _looks_like_chat(answer))


def _message(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"a message is an object, found {type(value).__name__}")
    if "role" not in value and "from" in value:
        speaker = str(value["from"])
        if speaker not in _SPEAKERS:
            raise ValueError(f"unknown speaker {speaker!r}; known: {', '.join(_SPEAKERS)}")
        return {"role": _SPEAKERS[speaker], "content": _content(value.get("value"))}
    role = value.get("role")
    if not isinstance(role, str) or not role:
        raise ValueError(f"a message needs a role, found keys {', '.join(map(str, value))}")
    message = {str(key): part for key, part in value.items() if part is not None}
    content = value.get("content")
    if content is None and message.get("tool_calls"):
        content = ""
    # any other role is for the model's own chat template to judge
    return (
        message
        | {"role": {"human": "user", "gpt": "assistant"}.get(role, role)}
        | {"content": _content(content)}
    )


def _content(value: object) -> str:
    if isinstance(value, list):
        return "".join(_part(part) for part in value)
    if not isinstance(value, str):
        raise ValueError(f"what a message says is text, found {type(value).__name__}")
    return value


def _part(value: object) -> str:
    text = value.get("text") if isinstance(value, Mapping) else value
    if not isinstance(text, str):
        kind = value.get("type") if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"a part of a message is not text but {kind}")
    return text
