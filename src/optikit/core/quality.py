"""Has the compressed model kept what the baseline can? A paired answer with its uncertainty.

Both models answer the same items, so the items are paired: what both get right or both get wrong
says nothing about a difference, and drops out of its variance. The loss a task is judged by is
``mean(baseline - candidate)`` against ``margin * mean(baseline)``: a test of non-inferiority (and
of inferiority) by one two-sided 95 % interval, that is, two one-sided tests at 2.5 % each
(Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680).

Zero observed disagreements in n items are no proof of zero, so neither bound is Wald's. The upper
one, which 'kept' needs, is of Wilson's form: the estimate moves up by ``z^2 / 2n`` and its variance
grows by ``z^2 / 4`` items (Wilson 1927, JASA 22, 209-212; for paired tables: Tango 1998, Stat. Med.
17, 891-908). The lower one, which 'lost' needs, adds ``z^2 / 2`` discordant pairs to the variance
(Agresti & Min 2005, Stat. Med. 24, 729-740). A small sample then answers *cannot tell*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from optikit.errors import BadInput
from optikit.spec.record import ItemScores, QualityVerdict, TaskScore

__all__ = ["compare"]

Z = 1.959964
"""Normal quantile of a two-sided 95 % interval."""
PSEUDO = Z * Z / 2.0
"""Discordant pairs added to the variance, half in each direction."""
Scores = NDArray[np.float64]


def compare(
    baseline: Sequence[ItemScores],
    candidate: Sequence[ItemScores],
    margin: float,
    candidate_id: str,
) -> QualityVerdict:
    """The gate's verdict for one candidate.

    Args:
        baseline, candidate: scores between 0 and 1, the same tasks and items in the same order.
        margin: largest loss allowed, relative to the baseline's mean.

    A task is kept where its whole interval of the loss lies below the margin, lost where it lies
    above, else it cannot tell. Several tasks: lost if any is (each tested at 2.5 % / tasks,
    Bonferroni, so that more tasks do not mean more false alarms); kept if all are; else it cannot
    tell.

    Raises:
        BadInput: other tasks or item counts for the two models, or a task without items.
    """
    theirs = {one.task: one for one in candidate}
    if {one.task for one in baseline} != set(theirs) or not theirs:
        raise BadInput(
            f"quality: the baseline was scored on {[s.task for s in baseline]}, the candidate on "
            f"{sorted(theirs)}; score both on the same tasks"
        )
    z_lost = _z_for(len(theirs))
    judged = [_task(one, theirs[one.task], margin, z_lost) for one in baseline]
    words = [word for word, _, _ in judged]
    verdict = "lost" if "lost" in words else "kept" if set(words) == {"kept"} else "cannot tell"
    deciding = [reason for word, reason, _ in judged if word == verdict]
    return QualityVerdict(
        candidate_id=candidate_id,
        verdict=verdict,
        margin=margin,
        reason="; ".join(deciding),
        tasks=tuple(score for _, _, score in judged),
    )


def _z_for(tasks: int) -> float:
    """Normal quantile for a one-sided test at 2.5 % / tasks."""
    return Z if tasks == 1 else float(norm.isf(0.025 / tasks))


def _task(
    base: ItemScores, cand: ItemScores, margin: float, z_lost: float
) -> tuple[str, str, TaskScore]:
    b, c = np.asarray(base.scores, float), np.asarray(cand.scores, float)
    n = len(b)
    if n != len(c) or n == 0:
        raise BadInput(
            f"quality: task {base.task} has {n} items for the baseline and {len(c)} for the "
            "candidate; a paired comparison needs the same items"
        )
    mean_b, mean_c = float(b.mean()), float(c.mean())
    loss = mean_b - mean_c
    allowed = margin * mean_b
    # d = (b - c) - margin * b: its mean is the loss beyond the margin, its spread the paired one
    beyond = (b - c) - margin * b
    spread = float(((beyond - beyond.mean()) ** 2).sum())
    stderr = math.sqrt(spread + PSEUDO) / n
    middle = loss - allowed
    low, high = middle - z_lost * stderr, middle + _reach(spread / n, n)
    word = "kept" if high < 0 else "lost" if low > 0 else "cannot tell"
    discordant = int(np.count_nonzero(b != c))
    seen = (
        f"{base.task}: {mean_c:.1%} after {mean_b:.1%} on {n} items, {discordant} of them changed"
    )
    if word == "cannot tell":
        reason = (
            f"{seen}; about {_needed(b, c, margin)} items would tell at a margin of {margin:.2%}"
        )
    else:
        reason = f"{seen}; loss {'within' if word == 'kept' else 'beyond'} {margin:.2%}"
    score = TaskScore(
        task=base.task,
        metric=base.metric,
        items=n,
        baseline=mean_b,
        candidate=mean_c,
        baseline_stderr=_stderr(b),
        candidate_stderr=_stderr(c),
        recovery=mean_c / mean_b if mean_b else None,
        recovery_stderr=_ratio_stderr(b, c),
    )
    return word, reason, score


def _reach(variance: float, n: int) -> float:
    """How far the upper bound lies above the estimate, for a variance per item."""
    return (PSEUDO + Z * math.sqrt(variance * n + Z * Z / 4.0)) / n


def _needed(b: Scores, c: Scores, margin: float) -> int:
    """Items at which a model with no loss at all would be called kept, at the spread seen here."""
    variance = float((b - c).var())
    allowed = max(margin * float(b.mean()), 1e-6)
    few, enough = 1, 2
    while _reach(variance, enough) >= allowed:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if _reach(variance, middle) < allowed else (middle, enough)
    return enough


def _stderr(scores: Scores) -> float:
    n = len(scores)
    return float(scores.std(ddof=1) / math.sqrt(n)) if n > 1 else 0.0


def _ratio_stderr(b: Scores, c: Scores) -> float | None:
    """Standard error of mean(c) / mean(b), paired, by the delta method (Cochran 1977, 6.4)."""
    n, mean_b = len(b), float(b.mean())
    if n < 2 or mean_b == 0:
        return None
    residual = c - (float(c.mean()) / mean_b) * b
    return float(residual.std(ddof=1) / (math.sqrt(n) * mean_b))
