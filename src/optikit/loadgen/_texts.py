"""Prompts as text of an exact length in tokens, by the server's own count.

A text is made of words that are one token each, so that its length is the number of its words and
a constant: what the template and the first word take. Which words those are, and the constant, is
asked of the server: of its ``/tokenize`` where it has one that agrees with the ``usage`` of an
answer, else of that ``usage``. Nothing here is timed.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optikit.adapters.http import HttpError
from optikit.core.load import Load
from optikit.core.prompts import prompts
from optikit.errors import BadInput
from optikit.loadgen._words import ANCHORS, CANDIDATES

__all__ = ["Texts", "learn", "server_count"]

Count = Callable[[str], Awaitable[int]]
"""Tokens of a prompt that is this text, the template around it included."""
Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Path under the server and body to the answer's JSON."""

_SHORT, _LONG = 8, 24
ENOUGH = 64
"""Words: four of them make 16 million texts."""


@dataclass(frozen=True)
class Texts:
    """What is known of a server's tokenizer."""

    words: tuple[str, ...]
    """One token each, behind a space."""
    first: str
    overhead: int
    """Tokens of the template and of ``first``."""
    checked: set[int] = field(default_factory=set)
    """Lengths that the server was seen to count as asked."""

    def text(self, ids: Sequence[int]) -> str:
        """The text whose length is ``overhead + len(ids)``; ids are positions in ``words``."""
        return " ".join([self.first, *(self.words[i] for i in ids)])

    async def check(self, sizes: Sequence[int], count: Count) -> None:
        """Ask the server for the shortest and the longest of ``sizes`` that it did not count yet.

        The texts asked about are sent in no probe: the server's prefix cache stays as it was.

        Raises:
            BadInput: it counts another length; or the length has no room for the template.
            HttpError: it does not answer.
        """
        for size in sorted({min(sizes, default=0), max(sizes, default=0)} - self.checked - {0}):
            if size < self.overhead:
                raise BadInput(
                    f"prompts of {size} tokens were asked, but the server's template and the first "
                    f"word take {self.overhead}; ask for longer prompts or use the completions API"
                )
            draw = random.Random(f"check {size}")
            words = [draw.randrange(len(self.words)) for _ in range(size - self.overhead)]
            found = await count(self.text(words))
            if found != size:
                raise BadInput(
                    f"a text meant to have {size} tokens has {found} by the server's count: its "
                    "tokenizer joins words, or it cuts prompts; send token ids instead "
                    "(prompts: tokens), or ask for shorter prompts"
                )
            self.checked.add(size)

    def of(self, load: Load) -> list[str]:
        """One text a request: all differ, and share the prefix that the workload asks for.

        The template and the first word count as part of the shared prefix.

        Raises:
            BadInput: there are not enough different ones.
        """
        workload = load.workload
        shared = max(workload.prefix_tokens - self.overhead, 0)
        plain = workload.model_copy(update={"prefix_tokens": shared})
        span = len(self.words)
        vocab = next(v for v in range(span, 2 * span + 20) if v - 2 * (v // 20) == span)
        ids = prompts(plain, load.prompt_tokens - self.overhead, vocab, load.seed)
        return [self.text([i - vocab // 20 for i in row]) for row in ids]


async def learn(count: Count) -> Texts:
    """Find words of one token, and what the template takes.

    Raises:
        BadInput: the tokenizer has too few such words.
        HttpError: the server does not answer.
    """
    for first in ANCHORS:
        short = await count(" ".join([first] * _SHORT))
        if await count(" ".join([first] * _LONG)) - short == _LONG - _SHORT:
            break
    else:
        raise BadInput(
            "the server's tokenizer knows no common English word as one token, so that texts of an "
            "exact length cannot be made; send token ids instead (prompts: tokens)"
        )
    overhead = short - (_SHORT - 1)
    words: list[str] = []
    for begin in range(0, len(CANDIDATES), ENOUGH):
        words += await _single(CANDIDATES[begin : begin + ENOUGH], first, overhead, count)
        if len(words) >= ENOUGH:
            return Texts(tuple(words), first, overhead)
    raise BadInput(
        f"only {len(words)} of {len(CANDIDATES)} common English words are one token to the server, "
        f"{ENOUGH} are needed; send token ids instead (prompts: tokens)"
    )


async def _single(
    words: tuple[str, ...], first: str, overhead: int, count: Count
) -> tuple[str, ...]:
    """Those of ``words`` that are one token: no text of n words has fewer tokens than n."""
    if await count(" ".join([first, *words])) == overhead + len(words):
        return words
    if len(words) == 1:
        return ()
    half = len(words) // 2
    return (
        *await _single(words[:half], first, overhead, count),
        *await _single(words[half:], first, overhead, count),
    )


async def server_count(ask: Ask, model: str, *, chat: bool) -> Count:
    """The server's way to count a text: ``/tokenize`` if it agrees with an answer, else answers.

    Raises:
        HttpError: the server does not answer.
    """

    def prompt(text: str) -> dict[str, Any]:
        if chat:
            return {"model": model, "messages": [{"role": "user", "content": text}]}
        return {"model": model, "prompt": text}

    path = "/v1/chat/completions" if chat else "/v1/completions"

    async def by_answer(text: str) -> int:
        found = await ask(path, {**prompt(text), "max_tokens": 1, "temperature": 0})
        usage = found.get("usage") if isinstance(found, dict) else None
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if not isinstance(tokens, int):
            raise HttpError("asked for usage, got none: the server does not count prompt tokens")
        return tokens

    async def by_tokenizer(text: str) -> int:
        found = await ask("/tokenize", prompt(text))
        tokens = found.get("count") if isinstance(found, dict) else None
        if not isinstance(tokens, int):
            raise HttpError("asked for a count of tokens, got none")
        return tokens

    sample = " ".join(ANCHORS)
    truth = await by_answer(sample)
    try:
        agrees = await by_tokenizer(sample) == truth
    except HttpError:
        agrees = False
    return by_tokenizer if agrees else by_answer
