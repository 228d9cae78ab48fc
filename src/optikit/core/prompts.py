"""Prompts as token ids: their length is exact and no tokenizer stands between us and the server."""

from __future__ import annotations

import numpy as np

from optikit.core.arrivals import arrival_times
from optikit.errors import BadInput
from optikit.spec.timing import PlannedRequest
from optikit.spec.workload import Workload

__all__ = ["plan_requests", "prompts"]

_PREFIX_STREAM, _REST_STREAM = 0, 1
_SPECIAL_SHARE = 20
"""Special ids, and ids that only pad the embedding, sit in the first and the last twentieth of
the vocabularies in use (Mistral: the first 1000 of 131,072; Llama 3: the last 256 of 128,256;
Qwen 2.5: the last 421 of 152,064)."""
_DRAW = 1024


def prompts(workload: Workload, count: int, vocab: int, seed: int) -> list[tuple[int, ...]]:
    """``count`` prompts of exactly ``workload.prompt_tokens`` ids.

    The first ``prefix_tokens`` ids are the same in every prompt and depend on ``workload.seed``
    alone; what follows is drawn from ``seed`` and differs in every prompt, so that a prefix cache
    gains by the shared prefix only.

    Raises:
        BadInput: the vocabulary is too small for that many different prompts.
    """
    margin = vocab // _SPECIAL_SHARE
    first, span = margin, vocab - 2 * margin
    length = workload.prompt_tokens - workload.prefix_tokens
    if span < 1 or (length < 32 and span**length < count):  # beyond 32 no count comes near
        raise BadInput(
            f"{count} different prompts with {length} token(s) after the prefix cannot be made "
            f"from the {max(span, 0)} plain ids of a vocabulary of {vocab}; ask for a longer "
            "prompt, a shorter prefix or fewer requests"
        )
    shared = np.random.default_rng((workload.seed, _PREFIX_STREAM))
    prefix = tuple(shared.integers(first, first + span, size=workload.prefix_tokens).tolist())
    own = np.random.default_rng((seed, _REST_STREAM))
    rests: dict[tuple[int, ...], None] = {}  # in order of drawing
    while len(rests) < count:
        rows = min(count, _DRAW)
        drawn = own.integers(first, first + span, size=(rows, length)).tolist()
        rests.update(dict.fromkeys(map(tuple, drawn)))
    return [prefix + rest for rest in list(rests)[:count]]


def plan_requests(
    workload: Workload, rate_rps: float | None, count: int, vocab: int, seed: int
) -> list[PlannedRequest]:
    """The requests of one probe, in order of arrival.

    Args:
        rate_rps: offered rate of an open loop; None for a closed loop (every ``at_s`` is 0).
        vocab: size of the served model's vocabulary.
        seed: of this probe's arrivals and prompts; another probe takes another one.

    Raises:
        BadInput: as :func:`prompts`.
    """
    if rate_rps is None:
        times = [0.0] * count
    else:
        times = arrival_times(workload.arrivals, rate_rps, count, seed).tolist()
    return [
        PlannedRequest(index, at_s, prompt, workload.output_tokens)
        for index, (at_s, prompt) in enumerate(
            zip(times, prompts(workload, count, vocab, seed), strict=True)
        )
    ]
