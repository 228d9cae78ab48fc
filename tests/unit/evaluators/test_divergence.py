"""Shipped text, tokenization, answers and their file; the server is in tests/integration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optikit.core.divergence import DocumentLogprobs
from optikit.errors import ArchiveError, BadInput
from optikit.evaluators import EVALUATORS, divergence
from optikit.evaluators.base import LogprobReader
from optikit.evaluators.divergence import DIVERGENCE, SHIPPED, _read
from optikit.spec.endpoint import Endpoint

ROOT = Path(__file__).parents[3]
IDS = [7, 3, 9]
READER: LogprobReader = DIVERGENCE


def sentences(text: str) -> set[str]:
    return {part.strip() for part in re.split(r"(?<=[.?!])\s+", text) if len(part.split()) > 3}


def entry(logprob: object, rank: int = 1) -> dict[str, object]:
    return {"logprob": logprob, "rank": rank, "decoded_token": "x"}


def answer(positions: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": "x", "prompt_logprobs": positions}]}


WHOLE: list[Any] = [
    None,
    {"3": entry(-2.5, 3), "1": entry(-0.5), "2": entry(-1.5, 2)},
    {"9": entry(-0.25), "4": entry(-2.0, 2)},
]


def documents() -> tuple[DocumentLogprobs, ...]:
    draw = np.random.default_rng(0)
    return tuple(
        DocumentLogprobs(
            draw.integers(0, 50, n + 1).astype(np.int32),
            -draw.random(n).astype(np.float32),
            draw.integers(0, 50, (n, 4)).astype(np.int32),
            -draw.random((n, 4)).astype(np.float32),
        )
        for n in (5, 1, 8)
    )


def test_the_shipped_text_is_many_different_documents_in_little_space() -> None:
    texts = READER.texts()
    assert len(texts) == len(set(texts)) == 68
    assert min(len(text.split()) for text in texts) >= 50
    assert SHIPPED.stat().st_size < 60_000
    own = [sentences(text) for text in texts]
    assert sum(map(len, own)) == len(set().union(*own))  # no sentence twice


def test_the_shipped_text_shares_no_sentence_with_the_calibration_text() -> None:
    lines = (ROOT / "examples/data/calibration/everyday.jsonl").read_text().splitlines()
    calibration = set().union(*(sentences(json.loads(line)["text"]) for line in lines))
    assert len(calibration) > 30
    assert calibration & set().union(*(sentences(text) for text in READER.texts())) == set()


def test_the_reader_is_no_evaluator() -> None:
    assert "divergence" not in EVALUATORS.names()


class WordTokenizer:
    """A token a word."""

    def encode(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        return [[len(word) for word in text.split()][:max_tokens] for text in texts]


def test_long_documents_are_cut_and_short_ones_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(divergence, "load_tokenizer", lambda folder, code: WordTokenizer())
    found = READER.tokenize(tmp_path, ["a bb ccc", "a bb ccc dddd", "a", ""], max_tokens=3)
    assert found.documents == ((1, 2, 3), (1, 2, 3))
    assert (found.cut, found.left_out) == (1, 2)
    with pytest.raises(BadInput, match="documents of 1 tokens"):
        READER.tokenize(tmp_path, ["a bb"], max_tokens=1)


def test_an_answer_becomes_columns_most_likely_first() -> None:
    found = _read(answer(WHOLE), IDS, 2)
    assert found.tokens.tolist() == IDS
    assert found.actual.tolist() == [-2.5, -0.25]
    assert found.top_ids.tolist() == [[1, 2], [9, 4]]  # the actual one is not among the top two
    assert found.top.tolist() == [[-0.5, -1.5], [-0.25, -2.0]]


def test_equally_likely_tokens_come_in_the_order_of_their_ids() -> None:
    tied = [None, {"3": entry(-1.0), "8": entry(-1.0), "2": entry(-1.0)}]
    assert _read(answer(tied), IDS[:2], 3).top_ids.tolist() == [[2, 3, 8]]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (None, "no prompt_logprobs"),
        ({"choices": []}, "no prompt_logprobs"),
        (answer(None), "no prompt_logprobs"),
        (answer(WHOLE[:2]), "2 positions for 3 tokens"),
        (answer([None, {"1": entry(-1), "2": entry(-1)}, WHOLE[2]]), "token 3 itself is missing"),
        (answer([None, {"3": entry(-1)}, WHOLE[2]]), "1 log-probabilities of 2 at position 1"),
        (answer([None, None, WHOLE[2]]), "no table of log-probabilities"),
        (answer([None, {"three": entry(-1)}, WHOLE[2]]), "invalid literal"),
        (answer([None, {"3": entry(None), "1": entry(-1)}, WHOLE[2]]), "no table"),
        (answer([None, {"3": entry(float("nan")), "1": entry(-1)}, WHOLE[2]]), "weights may be"),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(given: object, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        _read(given, IDS, 2)


def test_nothing_is_sent_that_cannot_be_answered() -> None:
    served = Endpoint(base_url="http://127.0.0.1:9", model="m", vocab=100)
    chat = Endpoint(base_url="http://127.0.0.1:9", model="m", api="chat")
    with pytest.raises(BadInput, match="asked by chat with text"):
        READER.measure(chat, [IDS], top_k=2)
    for texts, top_k in (([], 2), ([IDS, [1]], 2), ([IDS], 0)):
        with pytest.raises(BadInput, match=f"{len(texts)} documents, .* top_k {top_k}"):
            READER.measure(served, texts, top_k=top_k)


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "logprobs.npz"
    READER.save(path, documents())
    for found, kept in zip(READER.load(path), documents(), strict=True):
        for name in ("tokens", "actual", "top_ids", "top"):
            was, now = getattr(kept, name), getattr(found, name)
            assert was.dtype == now.dtype
            np.testing.assert_array_equal(was, now)
    assert [left.name for left in tmp_path.iterdir()] == ["logprobs.npz"]


def test_a_file_that_is_not_whole_says_so(tmp_path: Path) -> None:
    path = tmp_path / "logprobs.npz"
    with pytest.raises(ArchiveError, match=r"logprobs\.npz holds no whole"):
        READER.load(path)
    READER.save(path, documents())
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError, match="delete it"):
            READER.load(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format": np.int64(99)}, "format 99"),
        ({"lengths": np.array([6, 2, 8])}, "for 16 tokens"),
        ({"lengths": np.array([], np.int64)}, "delete it"),
        ({"lengths": np.array([16, 1, 0])}, "delete it"),
        ({"top": np.array([{"a": 1}], dtype=object)}, "pickle"),
    ],
)
def test_columns_of_another_kind_are_refused(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    path = tmp_path / "logprobs.npz"
    READER.save(path, documents())
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    np.savez(path, **{**columns, **change})
    with pytest.raises(ArchiveError, match=word):
        READER.load(path)
