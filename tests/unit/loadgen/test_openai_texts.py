"""Text prompts of an exact length: by a pretended server's count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest

from optikit.adapters.http import HttpError
from optikit.core.load import plan_load
from optikit.errors import BadInput
from optikit.loadgen._texts import ENOUGH, Texts, learn, server_count
from optikit.loadgen._words import ANCHORS, CANDIDATES
from optikit.spec.workload import Workload


def counting(
    template: int = 0, long: Collection[str] = (), cut: int = 10**9
) -> Callable[[str], Awaitable[int]]:
    async def count(text: str) -> int:
        return min(template + sum(2 if word in long else 1 for word in text.split()), cut)

    return count


def test_words_are_written_down_once() -> None:
    assert len(CANDIDATES) > 4 * ENOUGH
    assert len(set(CANDIDATES)) == len(CANDIDATES)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in CANDIDATES)


def test_words_of_two_tokens_are_left_out() -> None:
    long = {"the", CANDIDATES[0], CANDIDATES[5], CANDIDATES[-1]}
    found = asyncio.run(learn(counting(template=12, long=long)))
    assert found.first == ANCHORS[1]
    assert found.overhead == 13
    assert len(found.words) >= ENOUGH
    assert not long & set(found.words)


@pytest.mark.parametrize("long", [set(ANCHORS), set(CANDIDATES)])
def test_a_tokenizer_without_words(long: set[str]) -> None:
    with pytest.raises(BadInput, match="prompts: tokens"):
        asyncio.run(learn(counting(long=long)))


def test_a_length_is_asked_about_once() -> None:
    asked: list[str] = []
    plain = counting(template=5)

    async def count(text: str) -> int:
        asked.append(text)
        return await plain(text)

    async def work() -> Texts:
        texts = await learn(count)
        asked.clear()
        await texts.check([30, 10, 20], count)
        await texts.check([10, 30], count)
        return texts

    texts = asyncio.run(work())
    assert [len(text.split()) + 5 for text in asked] == [10, 30]
    assert texts.checked == {10, 30}


@pytest.mark.parametrize(
    ("template", "cut", "error"),
    [(40, 10**9, "template and the first word take 41"), (3, 25, "meant to have 30 tokens has 25")],
)
def test_a_length_that_cannot_be_made(template: int, cut: int, error: str) -> None:
    async def work() -> None:
        texts = await learn(counting(template=template))
        await texts.check([30], counting(template=template, cut=cut))

    with pytest.raises(BadInput, match=error):
        asyncio.run(work())


def made(template: int, **workload: Any) -> list[str]:
    asked = Workload.parse({"output_tokens": 4, **workload})
    texts = asyncio.run(learn(counting(template=template)))
    return texts.of(plan_load(asked, 10.0, 50, seed=3))


def test_texts_have_their_lengths_and_differ() -> None:
    lengths = {"distribution": "uniform", "low": 12, "high": 60}
    load = plan_load(
        Workload.parse({"prompt_tokens": lengths, "output_tokens": 4}), 10.0, 50, seed=3
    )
    texts = made(template=8, prompt_tokens=lengths)
    assert [len(text.split()) + 8 for text in texts] == load.prompt_tokens.tolist()
    assert len(set(texts)) == 50
    assert texts == made(template=8, prompt_tokens=lengths)


def test_texts_share_the_prefix_and_no_more() -> None:
    rows = [text.split() for text in made(template=8, prompt_tokens=60, prefix_tokens=30)]
    shared = 30 - 8  # the template is part of what is shared
    assert len({tuple(row[:shared]) for row in rows}) == 1
    assert len({row[shared] for row in rows}) > 10
    rows = [text.split() for text in made(template=8, prompt_tokens=60, prefix_tokens=4)]
    assert len({row[1] for row in rows}) > 10


def test_texts_repeat_only_if_asked() -> None:
    texts = made(template=0, prompt_tokens=20, distinct_prompts=5)
    assert len(set(texts)) == 5
    assert texts[0] == texts[5]


@pytest.mark.parametrize(
    ("tokenizer", "path"),
    [(0, "/tokenize"), (1, "/v1/completions"), (None, "/v1/completions")],
)
def test_the_count_of_an_answer_is_the_true_one(tokenizer: int | None, path: str) -> None:
    asked: list[str] = []

    async def ask(path: str, body: dict[str, Any]) -> Any:
        asked.append(path)
        words = len(body["prompt"].split())
        if path == "/tokenize":
            if tokenizer is None:
                raise HttpError("HTTP 404: Not Found")
            return {"count": words + tokenizer}
        assert body["max_tokens"] == 1
        return {"usage": {"prompt_tokens": words}}

    async def work() -> int:
        count = await server_count(ask, "m", chat=False)
        return await count("a b c")

    assert asyncio.run(work()) == 3
    assert asked[-1] == path


@pytest.mark.parametrize("answer", [[], {}, {"usage": None}, {"usage": {"prompt_tokens": "9"}}])
def test_a_server_that_does_not_count(answer: object) -> None:
    async def ask(path: str, body: dict[str, Any]) -> Any:
        return answer

    with pytest.raises(HttpError, match="asked for usage, got none"):
        asyncio.run(server_count(ask, "m", chat=True))
