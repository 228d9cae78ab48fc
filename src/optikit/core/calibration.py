"""Which calibration texts are used: rows made text, counted in tokens, and drawn by a seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optikit.core.chats import Chat
from optikit.errors import DatasetError
from optikit.spec.candidate import Sampling

__all__ = [
    "ChatTokenizer",
    "Ready",
    "Sample",
    "TokenStatistics",
    "choose_samples",
    "held_out",
    "prepare",
    "strata",
]

PARTS = 4
"""Of length, and of variety within each: 16 strata, so that 256 samples hold some of each."""
_HELD_OUT = 1
"""Divides the stream of ``held_out`` from the draw of the sample with the same seed."""


@dataclass(frozen=True)
class TokenStatistics:
    """What the model's tokenizer makes of each text; arrays of one entry a text."""

    tokens: NDArray[np.int64]
    """Tokens, special ones included; counted up to ``max_tokens + 1``."""
    distinct: NDArray[np.int64]
    """Different tokens among the first ``max_tokens``."""
    max_tokens: int

    @property
    def used(self) -> NDArray[np.int64]:
        """Tokens that a recipe sees of each text."""
        return np.minimum(self.tokens, self.max_tokens)

    def of(self, kept: NDArray[np.bool_]) -> TokenStatistics:
        """Those of some of the texts."""
        return TokenStatistics(self.tokens[kept], self.distinct[kept], self.max_tokens)


class ChatTokenizer(Protocol):
    """A model's tokenizer and chat template; see adapters/tokenizer.py."""

    def render(self, chat: Chat) -> str:
        """The chat as the model reads it.

        Raises:
            DatasetError: the model has no chat template.
            ValueError: the template refuses this chat; the message is the template's.
        """

    def measure(self, texts: Sequence[str], max_tokens: int) -> TokenStatistics:
        """Count the tokens of each text."""


@dataclass(frozen=True)
class Ready:
    """Texts that a recipe can be given."""

    texts: tuple[str, ...]
    statistics: TokenStatistics
    skipped: dict[str, int] = field(default_factory=dict)
    """Rows left out here, by reason: chat template refuses, duplicate, empty, no tokens."""

    @property
    def cut(self) -> int:
        """Texts of more than ``max_tokens`` tokens."""
        return int(np.count_nonzero(self.statistics.tokens > self.statistics.max_tokens))


@dataclass(frozen=True)
class Sample:
    """Calibration texts in the order they are used."""

    texts: tuple[str, ...]
    digest: str
    """SHA-256 over the texts, each ended by a zero byte."""


def prepare(
    texts: Sequence[str], chats: Sequence[Chat], tokenizer: ChatTokenizer, max_tokens: int
) -> Ready:
    """Chats rendered by the model's own template, after the plain texts; all of them counted.

    Raises:
        DatasetError: there are chats and the model has no chat template, or nothing is left.
    """
    whole, skipped, first = list(texts), Counter[str](), ""
    seen = set(whole) if chats else set()
    for chat in chats:
        try:
            text = tokenizer.render(chat)
        except ValueError as error:
            skipped["chat template refuses"] += 1
            first = first or f"; the chat template's first refusal: {error}"
            continue
        if not text.strip():
            skipped["empty"] += 1
        elif text in seen:
            skipped["duplicate"] += 1
        else:
            seen.add(text)
            whole.append(text)
    statistics = tokenizer.measure(whole, max_tokens)
    kept = statistics.tokens > 0
    if not kept.all():
        skipped["no tokens"] = int(np.count_nonzero(~kept))
        whole = [text for text, keep in zip(whole, kept, strict=True) if keep]
    if not whole:
        raise DatasetError(
            f"dataset: no usable text for this model: {len(texts)} texts and {len(chats)} chats "
            f"read, left out {dict(skipped)}{first}. Name another field in dataset.text_field, or "
            "give plain text."
        )
    return Ready(tuple(whole), statistics.of(kept), dict(skipped))


def choose_samples(
    texts: Sequence[str],
    count: int,
    seed: int,
    *,
    sampling: Sampling = "uniform",
    statistics: TokenStatistics | None = None,
) -> Sample:
    """``count`` texts without replacement; the same texts in the same order give the same sample.

    Another order of the files or rows gives another sample: the draw is over positions.

    - ``uniform``: every text has the same chance.
    - ``length_weighted``: successive draws with a chance proportional to the tokens used (at most
      ``max_tokens``), by exponential keys: Efraimidis and Spirakis, "Weighted random sampling with
      a reservoir", Information Processing Letters 97 (2006). Their largest ``u**(1/w)`` are the
      smallest ``-log(u)/w``, which do not underflow.
    - ``stratified``: each of ``strata`` in proportion to its size (Hamilton's largest remainders;
      equal remainders by lot), uniform inside.

    Args:
        statistics: of these texts; needed unless the sampling is uniform.

    Raises:
        DatasetError: there are fewer texts than asked.
        ValueError: no statistics where they are needed.
    """
    if len(texts) < count:
        raise DatasetError(
            f"dataset: asked {count} calibration samples, found {len(texts)} usable texts. "
            f"Add text, or set flow_params.calibration_samples to at most {len(texts)}."
        )
    draw = np.random.default_rng(seed)
    if sampling == "uniform":
        chosen = draw.choice(len(texts), size=count, replace=False)
    elif statistics is None or len(statistics.tokens) != len(texts):
        raise ValueError(f"{sampling} sampling needs the token statistics of the same texts")
    elif sampling == "length_weighted":
        keys = draw.standard_exponential(len(texts)) / np.maximum(statistics.used, 1)
        chosen = np.argsort(keys, kind="stable")[:count]
    else:
        chosen = _by_stratum(strata(statistics), count, draw)
    return _sample(texts[int(index)] for index in chosen)


def strata(statistics: TokenStatistics) -> NDArray[np.int64]:
    """The stratum of each text, from 0 to 15: quarters by tokens used, each quartered by variety.

    Variety is the share of different tokens. It tells boilerplate, tables and code from prose, and
    it is a fact of the text alone: the share of rare tokens would need the frequencies of the whole
    dataset, so that one more file would move every text. It falls with length (Heaps' law), which
    is why it is compared only within a quarter of length. Texts with equal figures share a stratum,
    so quarters may be uneven, or fewer.
    """
    used = statistics.used
    variety = statistics.distinct / np.maximum(used, 1)
    found = _quarters(used) * PARTS
    for part in range(PARTS):
        inside = found == part * PARTS
        if inside.any():
            found[inside] += _quarters(variety[inside])
    return found


def held_out(texts: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """``count`` texts, all where there are fewer, that no sample is drawn from afterwards.

    Drawn uniformly, whatever the sampling is: they stand for the dataset.
    """
    draw = np.random.default_rng([seed, _HELD_OUT])
    chosen = draw.choice(len(texts), size=min(count, len(texts)), replace=False)
    return tuple(texts[int(index)] for index in chosen)


def _sample(picked: Any) -> Sample:
    texts = tuple(picked)
    whole = hashlib.sha256()
    for text in texts:
        whole.update(text.encode() + b"\0")
    return Sample(texts, f"sha256:{whole.hexdigest()}")


def _quarters(values: NDArray[Any]) -> NDArray[np.int64]:
    edges = np.quantile(values, [part / PARTS for part in range(1, PARTS)])
    return np.searchsorted(edges, values, side="left").astype(np.int64)


def _by_stratum(
    strata: NDArray[np.int64], count: int, draw: np.random.Generator
) -> NDArray[np.int64]:
    sizes = np.bincount(strata)
    # in whole numbers: no share is rounded the wrong way, and none exceeds its stratum
    shares, rest = np.divmod(sizes * count, len(strata))
    lot = draw.random(len(sizes))
    most = np.lexsort((lot, -rest))[: count - int(shares.sum())]
    shares[most] += 1
    picked = [
        draw.choice(np.flatnonzero(strata == number), size=int(share), replace=False)
        for number, share in enumerate(shares)
        if share
    ]
    return draw.permutation(np.concatenate(picked)) if picked else np.empty(0, np.int64)
