"""How far a candidate's next-token distributions lie from the baseline's on the same text.

Both models read the same tokens (teacher forcing), so each position asks both the same question.

KL. A server returns the log-probabilities of the top k tokens and of the actual one, not of the
whole vocabulary. Tokens that both models returned are compared one by one; all others share one
bucket, which holds what is left of the probability. Putting outcomes together can only lower
KL(baseline || candidate), by the log-sum inequality (Cover & Thomas 2006, Elements of Information
Theory, theorem 2.7.1): the figure is a lower bound of the true divergence, and a larger k only
raises it.

Intervals. Tokens of one document hang together, so documents are drawn again, not tokens (cluster
bootstrap: Davison & Hinkley 1997, Bootstrap Methods, 3.8; Field & Welsh 2007, JRSS B 69, 369-390).
A measure is a ratio of sums over documents, bias-corrected and accelerated (BCa: Efron 1987, JASA
82, 171-185), with the normal quantile expanded for few documents (Hesterberg 2015, Am. Stat. 69,
371-386). Where few documents carry most of the divergence, the upper end still lies too low more
often than for 1 text in 40; the tests simulate how often. Width zero says that no document differed
from another, not that none would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from optikit.errors import BadInput
from optikit.spec.quality import Divergence, Estimate

__all__ = ["DocumentLogprobs", "diverge", "text_digest"]

Floats = NDArray[np.float64]

RESAMPLES = 10_000
_STREAM = 0x646976
"""Keeps these draws apart from others of the same seed."""
_LEAST = 1e-6
"""Least probability of the bucket. What float32 log-probabilities leave of 1 is not known better;
an empty bucket beside one that is not would be an infinite divergence made of rounding."""
_LOG_MAX = 700.0
"""exp of more overflows."""
_BLOCK = 4_000_000
"""Picks of documents held at a time."""


@dataclass(frozen=True, eq=False)
class DocumentLogprobs:
    """What one model says of one document of n + 1 tokens; the first token is context only.

    Raises:
        BadInput: shapes that do not go together, no predicted token, or a value that is no number.
    """

    tokens: NDArray[np.int32]
    """Shape (n + 1,): the whole document."""
    actual: NDArray[np.float32]
    """Shape (n,): natural log-probability of ``tokens[1:]``, each given all before it."""
    top_ids: NDArray[np.int32]
    """Shape (n, k): the k most likely tokens, most likely first."""
    top: NDArray[np.float32]
    """Shape (n, k): their natural log-probabilities."""

    def __post_init__(self) -> None:
        n = len(self.tokens) - 1
        shapes = (self.actual.shape, self.top_ids.shape, self.top.shape)
        if n < 1 or self.top.ndim != 2 or shapes != ((n,), self.top.shape, (n, self.top.shape[1])):
            raise BadInput(
                f"divergence: {n + 1} tokens with columns of shapes {shapes}; needed are two "
                "tokens or more, and one row for each but the first"
            )
        if not (np.isfinite(self.actual).all() and np.isfinite(self.top).all()):
            raise BadInput("divergence: a log-probability is no finite number")


def text_digest(documents: Sequence[Sequence[int] | NDArray[np.int32]]) -> str:
    """SHA-256 over the documents' token ids, in order."""
    found = hashlib.sha256()
    for document in documents:
        ids = np.asarray(document, dtype="<i4")
        found.update(len(ids).to_bytes(8, "little") + ids.tobytes())
    return found.hexdigest()


def diverge(
    baseline: Sequence[DocumentLogprobs],
    candidate: Sequence[DocumentLogprobs],
    *,
    top_k: int,
    seed: int,
    baseline_again: Sequence[DocumentLogprobs] | None = None,
) -> Divergence:
    """The candidate against the baseline, and the baseline against its own second run.

    Args:
        top_k: log-probabilities a position to use; every document must hold as many.
        seed: of the bootstrap.

    Raises:
        BadInput: other documents, another tokenization, fewer log-probabilities than ``top_k``, or
            fewer than two documents.
    """
    if len(baseline) < 2:
        raise BadInput(
            f"divergence: {len(baseline)} documents; how much one document differs from another "
            "is what the interval is made of, so give 2 or more (some 50 make it useful)"
        )
    sums, tokens = _sums(baseline, candidate, top_k, "candidate")
    kl, agreement, log_ratio = _intervals(sums, tokens, seed)
    noise: list[float] | list[None] = [None, None]
    if baseline_again is not None:
        again, _ = _sums(baseline, baseline_again, top_k, "baseline's second run")
        noise = [float(total) for total in again[:, :2].sum(axis=0) / tokens.sum()]
    low, middle, high = (
        float(np.exp(np.clip(log, -_LOG_MAX, _LOG_MAX)))
        for log in (log_ratio.low, log_ratio.value, log_ratio.high)
    )
    return Divergence(
        documents=len(baseline),
        tokens=int(tokens.sum()),
        top_k=top_k,
        kl=kl,
        top1_agreement=agreement,
        perplexity_ratio=Estimate(value=middle, low=low, high=high),
        noise_kl=noise[0],
        noise_top1_agreement=noise[1],
        text_digest=text_digest([one.tokens for one in baseline]),
    )


def _sums(
    baseline: Sequence[DocumentLogprobs],
    other: Sequence[DocumentLogprobs],
    top_k: int,
    who: str,
) -> tuple[Floats, Floats]:
    """Sums a document, shape (documents, 3), and predicted tokens, shape (documents,).

    The columns are KL in nats, positions of the same top token, and negative log-likelihood above
    the baseline's.
    """
    if len(baseline) != len(other):
        raise BadInput(
            f"divergence: {len(baseline)} documents of the baseline, {len(other)} of the {who}; "
            "measure both on the same text"
        )
    rows = []
    for number, (base, cand) in enumerate(zip(baseline, other, strict=True)):
        _same_text(base, cand, number, who)
        least = min(base.top.shape[1], cand.top.shape[1])
        if not 1 <= top_k <= least:
            raise BadInput(
                f"divergence: top_k is {top_k}, document {number} has {least} log-probabilities a "
                f"position; ask for 1 to {least}, or measure again with more"
            )
        kl, same = _positions(base, cand, top_k)
        nll = base.actual.astype(np.float64) - cand.actual.astype(np.float64)
        rows.append((kl.sum(), float(same.sum()), nll.sum(), float(len(nll))))
    table = np.array(rows, dtype=np.float64)
    return table[:, :3], table[:, 3]


def _same_text(base: DocumentLogprobs, cand: DocumentLogprobs, number: int, who: str) -> None:
    if np.array_equal(base.tokens, cand.tokens):
        return
    shorter = min(len(base.tokens), len(cand.tokens))
    differs = np.flatnonzero(base.tokens[:shorter] != cand.tokens[:shorter])
    where = f"at token {differs[0]}" if len(differs) else f"after {shorter} tokens"
    raise BadInput(
        f"divergence: document {number} of the {who} differs from the baseline's {where}; tokenize "
        "the text once, with the baseline's tokenizer, and give both models the same ids"
    )


def _positions(
    base: DocumentLogprobs, cand: DocumentLogprobs, top_k: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """KL in nats, and whether one token is most likely for both, at each of n positions."""
    ids, log_p = base.top_ids[:, :top_k].astype(np.int64), _wide(base.top[:, :top_k])
    cand_ids, cand_top = cand.top_ids[:, :top_k].astype(np.int64), cand.top[:, :top_k]
    found, log_q = _looked_up(ids, cand_ids, cand_top)
    # equal log-probabilities are common in bfloat16: any of the likeliest will do
    both_first = (log_p == log_p[:, :1]) & found & (log_q == _wide(cand_top[:, :1]))
    # the actual token is always known of both, in the top k or not: it has a column of its own
    known = np.column_stack([found & (ids != base.tokens[1:, None]), np.ones(len(ids), bool)])
    log_p = _with_bucket(np.column_stack([log_p, base.actual]), known)
    log_q = _with_bucket(np.column_stack([log_q, cand.actual]), known)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return np.maximum(kl, 0.0), both_first.any(axis=1)  # below 0: rounding of the sum


def _looked_up(
    ids: NDArray[np.int64], in_ids: NDArray[np.int64], logs: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], Floats]:
    """Row by row: which of ``ids`` are among ``in_ids``, and their entry of ``logs``; all (n, k).

    Entries of ids that are not there mean nothing.
    """
    rows = np.arange(len(ids))[:, None]
    order = np.argsort(in_ids, axis=1)
    stride = max(int(ids.max()), int(in_ids.max())) + 1
    keys = (rows * stride + np.take_along_axis(in_ids, order, axis=1)).ravel()
    wanted = rows * stride + ids
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return keys[places] == wanted, _wide(np.take_along_axis(logs, order, axis=1)).ravel()[places]


def _with_bucket(logs: Floats, known: NDArray[np.bool_]) -> Floats:
    """Log-probabilities of the known outcomes and of all others together, shape (n, k + 2).

    They sum to 1 exactly, so that no KL between two of them is negative. Unknown ones are 0, the
    same for both models.
    """
    mass = np.where(known, np.exp(logs), 0.0).sum(axis=1, keepdims=True)
    rest = np.maximum(1.0 - mass, _LEAST)
    whole = np.log(mass + rest)
    return np.column_stack([np.where(known, logs - whole, 0.0), np.log(rest) - whole])


def _wide(logs: NDArray[np.float32]) -> Floats:
    return logs.astype(np.float64)


def _intervals(
    sums: Floats, tokens: Floats, seed: int, resamples: int = RESAMPLES
) -> list[Estimate]:
    """``sums[:, j].sum() / tokens.sum()`` for each column j, with its 95 % interval."""
    documents = len(tokens)
    again = _drawn_again(sums, tokens, seed, resamples)
    left_out = (sums.sum(axis=0) - sums) / (tokens.sum() - tokens)[:, None]
    value = sums.sum(axis=0) / tokens.sum()
    reach = np.sqrt(documents / (documents - 1)) * stdtrit(documents - 1, 0.975)
    return [
        Estimate(value=float(middle), low=low, high=high)
        for middle, resampled, without in zip(value, again.T, left_out.T, strict=True)
        for low, high in [_bca(resampled, middle, without, reach)]
    ]


def _drawn_again(sums: Floats, tokens: Floats, seed: int, resamples: int) -> Floats:
    """The ratios of ``resamples`` draws of as many documents, with replacement."""
    documents = len(tokens)
    draw = np.random.default_rng((seed, _STREAM))
    found = []
    rows = max(1, _BLOCK // documents)
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        picks = draw.integers(documents, size=(count, documents))
        places = (picks + documents * np.arange(count)[:, None]).ravel()
        times = np.bincount(places, minlength=count * documents).reshape(count, documents)
        found.append((times @ sums) / (times @ tokens)[:, None])
    return np.concatenate(found)


def _bca(again: Floats, value: float, left_out: Floats, reach: float) -> tuple[float, float]:
    """Efron's BCa interval (1987, equation 6.8) from resampled and leave-one-out values."""
    share = float((again < value).mean() + (again == value).mean() / 2)
    least = 0.5 / len(again)
    bias = ndtri(np.clip(share, least, 1 - least))
    spread = left_out.mean() - left_out
    squared = float((spread**2).sum())
    skew = float((spread**3).sum()) / (6 * squared**1.5) if squared > 0 else 0.0
    moved = bias + np.array([-reach, reach])
    # far out, with few documents, the correction would turn round
    levels = ndtr(bias + moved / np.maximum(1 - skew * moved, 0.1))
    low, high = np.quantile(again, levels)
    return float(low), float(high)
