"""Has the compressed model kept what the baseline can? A paired answer with its uncertainty.

Both models answer the same items, so the items are paired: what both get right or both get wrong
says nothing about a difference, and drops out of its variance. The loss a task is judged by is
``mean(baseline - candidate)`` against ``margin * mean(baseline)``: a test of non-inferiority and
one of inferiority, each one-sided at 2.5 % (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15,
657-680). With right-or-wrong items it is McNemar's comparison, moved to the margin; with graded
ones (0 to 1) the same moments.

Zero observed disagreements in n items are no proof of zero, so neither bound is Wald's. The upper
one, which 'kept' needs, is of Wilson's form: the estimate moves up by ``z^2 / 2n`` and its variance
grows by ``z^2 / 4`` items (Wilson 1927, JASA 22, 209-212; for paired tables: Tango 1998, Stat. Med.
17, 891-908). Where every change is a loss it lies within 5 % of the exact Poisson bound, on the
safe side (0 changes: 3.84 / n against 3.69 / n). The lower one, which 'lost' needs, adds
``z^2 / 2`` discordant pairs to the variance (Agresti & Min 2005, Stat. Med. 24, 729-740).

An engine may score the same model differently from run to run. What changes item by item is part of
the paired variance already. What moves a whole run is seen only between runs: see ``compare``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from optikit.core.quality_size import (
    LEVEL,
    NOISE_LEVEL,
    PSEUDO,
    items_needed,
    items_to_tell,
    reach,
)
from optikit.errors import BadInput
from optikit.spec.quality import Estimate, ItemScores, QualityVerdict, TaskScore, TaskVerdict

__all__ = ["compare"]

Scores = NDArray[np.float64]
_NOTHING = 1e-9
"""A mean score up to it is as good as 0: no ratio to it means anything."""


def compare(
    baseline: Sequence[Sequence[ItemScores]],
    candidate: Sequence[ItemScores],
    margin: float,
    candidate_id: str,
) -> QualityVerdict:
    """The gate's verdict for one candidate.

    Args:
        baseline: one or more runs of the baseline, each with every task.
        candidate: one run, the same tasks and items in the same order; scores between 0 and 1.
        margin: largest loss allowed, relative to the baseline's mean.

    A task is kept where the upper bound of its loss lies below the margin; lost where 'no more is
    lost than the margin allows' is refused at 2.5 %, adjusted over the tasks by Holm's step-down
    (Holm 1979, Scand. J. Stat. 6, 65-70), so that more tasks do not mean more false alarms. The
    whole is lost if any task is, kept if all are (each must pass, so no correction is due: Berger
    1982, Technometrics 24, 295-300), else it cannot tell.

    Several runs of the baseline are averaged item by item. What their means differ by beyond what
    independent items would explain is added to the variance of the loss. And 'lost' needs a second
    proof: the candidate's mean, taken as one more run, must lie below the R baseline runs by
    Student's t with R - 1 degrees of freedom, at 5 %, Holm-adjusted too. That test holds its level
    whatever moves a run, items together or one by one, for it uses whole runs only; and both tests
    must refuse, so neither level grows. It is coarse with two runs (6.3 deviations, where many runs
    would need 1.6) and cheap from three on. One run says nothing of what moves whole runs.

    A baseline that scores nothing cannot be seen to lose: it cannot tell, at any size.

    Raises:
        BadInput: no run, other tasks, metrics or item counts, a task without items, or a score
            outside 0 to 1.
    """
    seen = [_see(pair, margin) for pair in _pairs(baseline, candidate)]
    p_lost = _holm([one.p_lost for one in seen])
    p_noise = _holm([one.p_noise for one in seen])
    judged = [_judge(*each, len(seen)) for each in zip(seen, p_lost, p_noise, strict=True)]
    words = [score.verdict for score, _ in judged]
    verdict: TaskVerdict = (
        "lost" if "lost" in words else "kept" if set(words) == {"kept"} else "cannot tell"
    )
    return QualityVerdict(
        candidate_id=candidate_id,
        verdict=verdict,
        margin=margin,
        reason="; ".join(reason for score, reason in judged if score.verdict == verdict),
        tasks=tuple(score for score, _ in judged),
    )


@dataclass(frozen=True)
class _Pair:
    """One task's scores side by side: ``(runs, items)`` and ``(items,)``."""

    task: str
    metric: str
    runs: Scores
    candidate: Scores


@dataclass(frozen=True)
class _Seen:
    """What one pair shows; scores' units throughout."""

    pair: _Pair
    base: Scores
    """Each item's mean over the runs."""
    allowed: float
    loss: float
    spread: float
    """Variance of one item's loss beyond the margin."""
    between: float
    """Variance of the loss by what moves whole runs."""
    restless: bool
    """That is the larger part, and no number of items makes it smaller."""
    noise: float
    """Variance of one item's score from run to run."""
    p_lost: float
    p_noise: float


def _pairs(
    baseline: Sequence[Sequence[ItemScores]], candidate: Sequence[ItemScores]
) -> list[_Pair]:
    if not baseline:
        raise BadInput("quality: the baseline has no run; score it at least once")
    wanted = [(one.task, one.metric) for one in baseline[0]]
    for run in (*baseline[1:], candidate):
        found = [(one.task, one.metric) for one in run]
        if sorted(found) != sorted(wanted) or not wanted or len(set(wanted)) < len(wanted):
            raise BadInput(
                f"quality: the baseline was scored on {_listed(wanted)}, another run on "
                f"{_listed(found)}; score all on the same tasks, each once"
            )
    pairs = []
    for task, metric in wanted:
        rows = [_scores(run, task) for run in (*baseline, candidate)]
        counts = sorted({len(row) for row in rows})
        if len(counts) > 1 or counts[0] == 0:
            raise BadInput(
                f"quality: task {task} has {' or '.join(map(str, counts))} items in different "
                "runs; a paired comparison needs the same items, and one at least"
            )
        pairs.append(_Pair(task, metric, np.stack(rows[:-1]), rows[-1]))
    return pairs


def _listed(tasks: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{task} ({metric})" for task, metric in tasks) or "no task"


def _scores(run: Sequence[ItemScores], task: str) -> Scores:
    scores = np.asarray(next(one.scores for one in run if one.task == task), float)
    wrong = scores[~((scores >= 0) & (scores <= 1))]
    if len(wrong):
        raise BadInput(
            f"quality: task {task} has the score {wrong[0]:g}; an item's score must lie between "
            "0 and 1: choose another metric, or divide by its maximum"
        )
    return scores


def _see(pair: _Pair, margin: float) -> _Seen:
    runs, n = pair.runs.shape
    base = pair.runs.mean(axis=0)
    allowed, loss = margin * float(base.mean()), float(base.mean() - pair.candidate.mean())
    spread = float(((1.0 - margin) * base - pair.candidate).var())
    between, noise, p_noise = 0.0, 0.0, 0.0
    if runs > 1:
        noise = float(pair.runs.var(axis=0, ddof=1).mean())
        of_means = _run_std(pair.runs) ** 2
        one_more = 1.0 + 1.0 / runs  # the candidate is one run, the baseline the mean of its runs
        between = one_more * max(0.0, of_means - noise / n)
        # runs that agree by chance (equal counts) still differ by what their items did
        own = one_more * max(of_means, noise / n)
        p_noise = float(stdtr(runs - 1, -loss / math.sqrt(own))) if own else 0.0
        noise = max(noise, of_means * n)
    by_items = (spread * n + PSEUDO) / n**2
    p_lost = float(ndtr((allowed - loss) / math.sqrt(by_items + between)))
    return _Seen(
        *(pair, base, allowed, loss, spread, between, between > by_items, noise, p_lost, p_noise)
    )


def _holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def _judge(seen: _Seen, p_lost: float, p_noise: float, tasks: int) -> tuple[TaskScore, str]:
    """The task's verdict and its reason, from adjusted p-values."""
    base, candidate = seen.base, seen.pair.candidate
    n, mean_b, mean_c = len(base), float(base.mean()), float(candidate.mean())
    runs, some = len(seen.pair.runs), mean_b > _NOTHING
    std = _run_std(seen.pair.runs) if runs > 1 else None
    high = seen.loss - seen.allowed + reach(seen.spread + n * seen.between, n)
    beyond = p_lost < LEVEL
    word: TaskVerdict = (
        "lost" if beyond and p_noise < NOISE_LEVEL else "kept" if high < 0 else "cannot tell"
    )
    changed = round(float(np.count_nonzero(seen.pair.runs != candidate, axis=1).mean()))
    blocked = word == "cannot tell" and (beyond or seen.restless)
    needed = _needed(seen, tasks, blocked) if word == "cannot tell" else None
    half = reach(float((base - candidate).var()) + n * seen.between, n)
    score = TaskScore(
        task=seen.pair.task,
        metric=seen.pair.metric,
        verdict=word,
        items=n,
        baseline=mean_b,
        candidate=mean_c,
        baseline_stderr=_stderr(base),
        candidate_stderr=_stderr(candidate),
        loss=Estimate(
            value=seen.loss, low=max(-1.0, seen.loss - half), high=min(1.0, seen.loss + half)
        ),
        recovery=mean_c / mean_b if some else None,
        recovery_stderr=_ratio_stderr(base, candidate, seen.between),
        p_lost=p_lost,
        changed=changed,
        items_needed=needed,
        runs=runs,
        baseline_std=std,
        baseline_relative_std=std / mean_b if std is not None and some else None,
    )
    said = f"{score.task}: {mean_c:.1%} after {mean_b:.1%} on {n} items, {changed} of them changed"
    return score, f"{said}; {_why(score, seen.allowed / mean_b if some else 0.0, blocked)}"


def _why(score: TaskScore, margin: float, blocked: bool) -> str:
    if score.verdict != "cannot tell":
        return f"loss {'within' if score.verdict == 'kept' else 'beyond'} {margin:.2%}"
    if score.recovery is None:
        return "a baseline that scores nothing has nothing to lose; choose a task it can do"
    told = f"about {score.items_needed} items would tell at a margin of {margin:.2%}"
    if blocked:
        runs = (
            f"the baseline's own {score.runs} runs differ too much (STD {score.baseline_std:.2%}) "
            "to tell; score it in more runs"
        )
        return f"{runs}, or {told}" if score.items_needed else runs
    return told if score.items_needed else f"no size would tell at a margin of {margin:.2%}"


def _needed(seen: _Seen, tasks: int, blocked: bool) -> int | None:
    """Items that would most likely tell; None: no number of them is known to."""
    n, mean_b = len(seen.base), float(seen.base.mean())
    if mean_b <= _NOTHING or seen.restless:
        return None
    # one changed item more than was seen: a few items without a change do not prove none
    square = float(((seen.base - seen.pair.candidate) ** 2).mean()) + 1.0 / n
    runs = len(seen.pair.runs)
    wanted = items_needed(
        mean_b, square, seen.allowed / mean_b, tasks=tasks, noise=seen.noise, runs=runs
    )
    if wanted is None or wanted > n:
        return wanted
    if blocked:
        return None
    # enough for no loss and for a large one, so this loss lies near the margin
    further = items_to_tell(seen.spread + n * seen.between, seen.loss - seen.allowed, tasks)
    return max(further, n + 1) if further else None


def _run_std(runs: Scores) -> float:
    """Standard deviation of the runs' means; exactly 0 where they are equal."""
    means = runs.mean(axis=1)
    return float((means - means[0]).std(ddof=1))


def _stderr(scores: Scores) -> float:
    n = len(scores)
    return float(scores.std(ddof=1) / math.sqrt(n)) if n > 1 else 0.0


def _ratio_stderr(b: Scores, c: Scores, between: float) -> float | None:
    """Standard error of mean(c) / mean(b), paired, by the delta method (Cochran 1977, 6.4)."""
    n, mean_b = len(b), float(b.mean())
    if n < 2 or mean_b <= _NOTHING:
        return None
    residual = c - (float(c.mean()) / mean_b) * b
    return math.sqrt(float(residual.var(ddof=1)) / n + between) / mean_b
