"""Prompts as token ids: their length is exact and no tokenizer stands between us and the server."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optikit.errors import BadInput
from optikit.spec.workload import Workload

__all__ = ["prompts"]

_PREFIX_STREAM, _REST_STREAM = 0, 1
_SPECIAL_SHARE = 20
"""Special ids, and ids that only pad the embedding, sit in the first and the last twentieth of
the vocabularies in use (Mistral: the first 1000 of 131,072; Llama 3: the last 256 of 128,256;
Qwen 2.5: the last 421 of 152,064)."""


def prompts(
    workload: Workload, sizes: Sequence[int] | NDArray[np.int64], vocab: int, seed: int
) -> list[tuple[int, ...]]:
    """One prompt of exactly ``sizes[i]`` ids a request.

    The first ``prefix_tokens`` ids are the same in every prompt and depend on ``workload.seed``
    alone; what follows is drawn from ``seed`` and differs in every prompt, so that a prefix cache
    gains by the shared prefix only. With ``distinct_prompts: k`` request i begins as request
    i modulo k does, and is cut to its own length.

    Raises:
        BadInput: a prompt is shorter than the prefix, or the vocabulary is too small for that
            many different prompts.
    """
    asked = np.asarray(sizes, dtype=np.int64)
    count, prefix_size = len(asked), workload.prefix_tokens
    if count == 0:
        return []
    wanted = asked - prefix_size
    if wanted.min() < 0:
        raise BadInput(
            f"prefix_tokens: {prefix_size} shared tokens do not go into a prompt of "
            f"{asked.min()}; ask for a shorter prefix or longer prompts"
        )
    distinct = min(workload.distinct_prompts or count, count)
    # what request i, i + k, i + 2k, ... begin with: as long as the longest of them
    padded = np.zeros(-(-count // distinct) * distinct, dtype=np.int64)
    padded[:count] = wanted
    pool_sizes = padded.reshape(-1, distinct).max(axis=0)
    margin = vocab // _SPECIAL_SHARE
    first, span = margin, vocab - 2 * margin
    _enough(pool_sizes, span, vocab)
    shared = np.random.default_rng((workload.seed, _PREFIX_STREAM))
    prefix = tuple(shared.integers(first, first + span, size=prefix_size).tolist())
    own = np.random.default_rng((seed, _REST_STREAM))
    pool = _different(own, pool_sizes, first, span)
    if distinct == count:
        return [prefix + rest for rest in pool]
    return [prefix + pool[i % distinct][:size] for i, size in enumerate(wanted.tolist())]


def _enough(sizes: NDArray[np.int64], span: int, vocab: int) -> None:
    """Refuse more prompts of one length than there are."""
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        # beyond 32 tokens no count comes near
        if span < 1 or (size < 32 and span ** int(size) < count):
            raise BadInput(
                f"{count} different prompts with {size} token(s) after the prefix cannot be made "
                f"from the {max(span, 0)} plain ids of a vocabulary of {vocab}; ask for a longer "
                "prompt, a shorter prefix, fewer requests or distinct_prompts"
            )


def _different(
    generator: np.random.Generator, sizes: NDArray[np.int64], first: int, span: int
) -> list[tuple[int, ...]]:
    """Ids of these many tokens each, no two alike."""
    drawn = generator.integers(first, first + span, size=int(sizes.sum()))
    ends = np.cumsum(sizes).tolist()
    seen: set[tuple[int, ...]] = set()
    found: list[tuple[int, ...]] = []
    for size, end in zip(sizes.tolist(), ends, strict=True):
        ids = tuple(drawn[end - size : end].tolist())
        while ids in seen:
            ids = tuple(generator.integers(first, first + span, size=size).tolist())
        seen.add(ids)
        found.append(ids)
    return found
