"""Teacher-forced log-probabilities of a served model, through vLLM's completions API.

A request carries a document's token ids and ``prompt_logprobs: k``; the answer has, for each token
but the first, the k most likely tokens and the actual one, keyed by token id. OpenAI's way to the
same, ``echo`` with ``logprobs``, keys them by text: two tokens of one text (halves of characters)
become one, and their probability is lost. vLLM takes them from the raw logits, before temperature,
and does not use its prefix cache for such a request. It allows k up to its ``--max-logprobs`` (20
unless said), and holds one document's logits at a time: tokens x vocabulary float32.
"""

from __future__ import annotations

import asyncio
import json
import math
import zipfile
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optikit.adapters.http import HttpError, load_session, post_json
from optikit.adapters.tokenizer import load_tokenizer
from optikit.core.divergence import DocumentLogprobs
from optikit.errors import ArchiveError, BadInput, EngineError
from optikit.evaluators.base import TokenizedTexts
from optikit.spec.endpoint import Endpoint

__all__ = ["DIVERGENCE"]

SHIPPED = Path(__file__).parent / "_texts" / "held_out.jsonl"
CONCURRENCY = 8
TIMEOUT_S = 300.0
"""For one document, from its sending to its whole answer."""
LEAST_TOKENS = 2
_COLUMNS = ("tokens", "actual", "top_ids", "top")
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError),
    *(zipfile.BadZipFile, zlib.error, BadInput),
)
"""What reading a .npz that is cut, or is another file, ends with."""
_FORMAT = 1
"""Of the .npz; raise it when the columns change."""


class ServedLogprobs:
    """See :class:`optikit.evaluators.base.LogprobReader`."""

    def texts(self) -> tuple[str, ...]:
        """As evaluators/base.py."""
        lines = SHIPPED.read_text(encoding="utf-8").splitlines()
        return tuple(str(json.loads(line)["text"]) for line in lines)

    def tokenize(
        self, tokenizer: Path, texts: Sequence[str], *, max_tokens: int, code: bool = False
    ) -> TokenizedTexts:
        """As evaluators/base.py; special tokens as the model's tokenizer adds them."""
        if max_tokens < LEAST_TOKENS:
            raise BadInput(
                f"divergence: documents of {max_tokens} tokens have nothing to predict; give "
                f"{LEAST_TOKENS} or more"
            )
        encode = load_tokenizer(tokenizer, code).encode
        rows = list(encode(texts, max_tokens + 1))  # one more: it is cut
        kept = [row for row in rows if len(row) >= LEAST_TOKENS]
        return TokenizedTexts(
            documents=tuple(tuple(row[:max_tokens]) for row in kept),
            cut=sum(len(row) > max_tokens for row in kept),
            left_out=len(rows) - len(kept),
        )

    def measure(
        self, endpoint: Endpoint, documents: Sequence[Sequence[int]], *, top_k: int
    ) -> tuple[DocumentLogprobs, ...]:
        """As evaluators/base.py."""
        if endpoint.api != "completions" or endpoint.prompts != "tokens":
            raise BadInput(
                f"divergence: {endpoint.base_url} is asked by {endpoint.api} with "
                f"{endpoint.prompts}; it needs the completions API with token ids (vLLM)"
            )
        short = [number for number, ids in enumerate(documents) if len(ids) < LEAST_TOKENS]
        if top_k < 1 or short or not documents:
            raise BadInput(
                f"divergence: {len(documents)} documents, {len(short)} of fewer than "
                f"{LEAST_TOKENS} tokens, top_k {top_k}; give longer documents, and 1 or more top_k"
            )
        return tuple(asyncio.run(_all(endpoint, documents, top_k)))

    def save(self, path: Path, logprobs: Sequence[DocumentLogprobs]) -> None:
        """As evaluators/base.py; documents lie one behind the other in each column."""
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(one, name) for one in logprobs]) for name in _COLUMNS
        }
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                format=np.int64(_FORMAT),
                lengths=np.array([len(one.tokens) for one in logprobs], np.int64),
                **columns,
            )
        partial.replace(path)

    def load(self, path: Path) -> tuple[DocumentLogprobs, ...]:
        """As evaluators/base.py."""
        try:
            # opened here: numpy does not close a file that it cannot read
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                columns = {name: kept[name] for name in ("format", "lengths", *_COLUMNS)}
            if int(columns["format"]) != _FORMAT:
                raise ValueError(f"format {columns['format']}, this version reads {_FORMAT}")
            return tuple(_split(columns))
        except _DAMAGE as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        f"divergence: {path} holds no whole log-probabilities ({error}); delete it, and they are "
        "measured again"
    )


def _split(columns: Mapping[str, Any]) -> Iterator[DocumentLogprobs]:
    ends = np.cumsum(columns["lengths"])
    rows = int(ends[-1]) - len(ends)
    held = {name: len(columns[name]) for name in _COLUMNS}
    if held != {"tokens": int(ends[-1]), "actual": rows, "top_ids": rows, "top": rows}:
        raise ValueError(f"columns of {held} rows for {int(ends[-1])} tokens")
    inner = ends[:-1]
    positions = inner - np.arange(1, len(ends))  # each document has one position less
    parts = [np.split(columns["tokens"], inner)]
    parts += [np.split(columns[name], positions) for name in _COLUMNS[1:]]
    for tokens, actual, top_ids, top in zip(*parts, strict=True):
        yield DocumentLogprobs(tokens=tokens, actual=actual, top_ids=top_ids, top=top)


Ask = Callable[[dict[str, Any]], Awaitable[Any]]


async def _all(
    endpoint: Endpoint, documents: Sequence[Sequence[int]], top_k: int
) -> list[DocumentLogprobs]:
    """At most ``CONCURRENCY`` documents at a time; the first fault ends the others."""
    found: dict[int, DocumentLogprobs] = {}
    numbered = iter(enumerate(documents))

    async def work(ask: Ask) -> None:
        for number, ids in numbered:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    found[number] = _read(await ask(_body(endpoint, ids, top_k)), ids, top_k)
            except TimeoutError:
                raise EngineError(
                    f"divergence: {endpoint.base_url} gave no answer to document {number} of "
                    f"{len(ids)} tokens in {TIMEOUT_S:.0f} s"
                ) from None
            except HttpError as error:
                raise _refused(endpoint, number, top_k, error) from error
            except ValueError as error:
                raise EngineError(
                    f"divergence: {endpoint.base_url} did not answer document {number} as vLLM "
                    f"does: {error}"
                ) from error

    key = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
    async with load_session() as session:

        async def ask(body: dict[str, Any]) -> Any:
            return await post_json(session, f"{endpoint.base_url}/v1/completions", body, key)

        tasks = [asyncio.create_task(work(ask)) for _ in range(CONCURRENCY)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    return [found[number] for number in range(len(documents))]


def _refused(endpoint: Endpoint, number: int, top_k: int, error: HttpError) -> Exception:
    if "max allowed" in str(error):
        return BadInput(
            f"divergence: top_k is {top_k}, and {endpoint.base_url} gives fewer; ask for fewer, or "
            f"start vLLM with --max-logprobs={top_k}. It says: {error}"
        )
    return EngineError(f"divergence: document {number} at {endpoint.base_url}: {error}")


def _body(endpoint: Endpoint, ids: Sequence[int], top_k: int) -> dict[str, Any]:
    return {
        "model": endpoint.model,
        "prompt": list(ids),
        "max_tokens": 1,  # vLLM has no 0 without echo
        "temperature": 0,
        "prompt_logprobs": top_k,
    }


def _read(answer: Any, ids: Sequence[int], top_k: int) -> DocumentLogprobs:
    """The answer's columns.

    Raises:
        ValueError: something is missing, or is no number.
    """
    try:
        positions = answer["choices"][0]["prompt_logprobs"]
    except (KeyError, IndexError, TypeError):
        positions = None
    if not isinstance(positions, list):
        raise ValueError("no prompt_logprobs in the answer")
    if len(positions) != len(ids):
        raise ValueError(f"{len(positions)} positions for {len(ids)} tokens")
    n = len(ids) - 1
    actual = np.empty(n, np.float32)
    top_ids, top = np.empty((n, top_k), np.int32), np.empty((n, top_k), np.float32)
    for row, (token, position) in enumerate(zip(ids[1:], positions[1:], strict=True)):
        logs = _position(position)
        if token not in logs:
            raise ValueError(f"token {token} itself is missing at position {row + 1}")
        if len(logs) < top_k:
            raise ValueError(f"{len(logs)} log-probabilities of {top_k} at position {row + 1}")
        actual[row] = logs[token]
        # of equal ones the smaller id, whatever order the server had
        first = sorted(logs.items(), key=lambda entry: (-entry[1], entry[0]))[:top_k]
        top_ids[row] = [found for found, _ in first]
        top[row] = [log for _, log in first]
    return DocumentLogprobs(np.array(ids, np.int32), actual, top_ids, top)


def _position(entries: Any) -> dict[int, float]:
    """One position, token id to log-probability."""
    try:
        logs = {int(token): float(entry["logprob"]) for token, entry in entries.items()}
    except (AttributeError, KeyError, TypeError):
        raise ValueError(
            f"a position that is no table of log-probabilities: {entries!r:.80}"
        ) from None
    if not all(math.isfinite(log) for log in logs.values()):
        raise ValueError("a log-probability that is no number; the weights may be broken")
    return logs


DIVERGENCE = ServedLogprobs()
