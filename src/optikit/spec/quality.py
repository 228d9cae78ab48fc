"""What is known of a compressed model's quality against its baseline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["Divergence", "Estimate", "ItemScores", "QualityVerdict", "TaskScore", "TaskVerdict"]

TaskVerdict = Literal["kept", "lost", "cannot tell"]


class Estimate(Spec):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class ItemScores(Spec):
    """One model's score on each item of one task, in the task's order."""

    task: str
    metric: str
    scores: tuple[float, ...]


class TaskScore(Spec):
    """Paired scores of one task: the same items for both models, in the same order."""

    task: str
    metric: str
    verdict: TaskVerdict
    items: int
    baseline: float
    """Mean score; of several runs of the baseline, over all of them."""
    candidate: float
    baseline_stderr: float
    candidate_stderr: float
    loss: Estimate
    """Mean of (baseline - candidate) over the items."""
    recovery: float | None
    """candidate / baseline; None where the baseline scores nothing."""
    recovery_stderr: float | None
    p_lost: float
    """Of 'no more is lost than the margin allows', one-sided, Holm-adjusted over the tasks."""
    changed: int
    """Items whose score differs between the models."""
    items_needed: int | None = None
    """Where it cannot tell: items at which it most likely would."""
    runs: int = Field(default=1, ge=1)
    """How often the baseline was scored."""
    baseline_std: float | None = None
    """Standard deviation of the baseline's mean score from run to run; None: one run."""
    baseline_relative_std: float | None = None
    """The same over the mean score."""


class Divergence(Spec):
    """How far the candidate's next-token distributions lie from the baseline's, on given text."""

    documents: int
    tokens: int
    """Predicted tokens over all documents."""
    top_k: int
    """Log-probabilities a position that the endpoint returned."""
    kl: Estimate
    """Mean over the tokens of KL(baseline || candidate) in nats; a lower bound, see
    core/divergence.py."""
    top1_agreement: Estimate
    """Share of positions where both find the same token most likely."""
    perplexity_ratio: Estimate
    """Candidate's perplexity over the baseline's."""
    noise_kl: float | None = None
    """The same KL of the baseline against its own second run; None: one run."""
    noise_top1_agreement: float | None = None
    text_digest: str | None = None
    """SHA-256 over the documents."""

    def __str__(self) -> str:
        kl, same, ratio = self.kl, self.top1_agreement, self.perplexity_ratio
        floor = f", {self.noise_kl:.2g} of it the engine's own" if self.noise_kl is not None else ""
        return (
            f"KL {kl.value:.3g} nats a token ({kl.low:.3g} to {kl.high:.3g}{floor}), same next "
            f"token in {same.value:.1%}, perplexity x {ratio.value:.3f} ({ratio.low:.3f} to "
            f"{ratio.high:.3f}), {self.tokens} tokens of {self.documents} documents"
        )


class QualityVerdict(Spec):
    """The gate's answer for one candidate."""

    candidate_id: str
    verdict: Literal["kept", "lost", "cannot tell", "unsupported", "failed"]
    """``unsupported``: the engine cannot serve it; ``failed``: it could not be made or scored."""
    margin: float
    reason: str
    tasks: tuple[TaskScore, ...] = ()
    divergence: Divergence | None = None
