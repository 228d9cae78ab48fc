"""Evaluate: baseline and candidates answer the same items on the engine that will ship."""

from __future__ import annotations

from optikit.core.candidates import choose
from optikit.core.divergence import diverge
from optikit.core.quality import compare
from optikit.errors import BadInput, BudgetExceeded, Cancelled, NoKernel, OptikitError
from optikit.spec.candidate import Candidate
from optikit.spec.plan import Plan
from optikit.spec.quality import Divergence, QualityVerdict
from optikit.spec.record import EvaluateRecord
from optikit.stages._score import TOP_K, Documents, Scored, documents_of, score, score_baseline
from optikit.stages._simulated import NOT_SCORED
from optikit.stages.base import Inputs, Tools

__all__ = ["STAGE"]


class Evaluate:
    """The quality gate."""

    name = "evaluate"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> EvaluateRecord:
        """Score, compare, choose by core/candidates.py.

        Before anything is measured a candidate opens in the engine and completes one request. Where
        the engine has no kernel for it here, that is a verdict, *unsupported*; where it cannot be
        made, served or scored for another reason, *failed*; the job goes on with the others. So
        are recipes that the plan left out. A simulated candidate has nothing to score: 'cannot
        tell', and the job goes on whatever ``on_cannot_tell`` says, as no items could ever tell.

        Raises:
            EngineError: the baseline cannot be served.
            BadInput: a task that cannot be loaded.
        """
        candidates = inputs.compress.candidates if inputs.compress else ()
        verdicts = [
            _without(recipe, plan, "unsupported", reason)
            for recipe, reason in plan.left_out.items()
        ]
        if plan.simulated:
            verdicts += [_without(c.id, plan, "cannot tell", NOT_SCORED) for c in candidates]
        else:
            documents = documents_of(tools, plan, inputs.fetched())
            baseline = score_baseline(tools, plan, inputs.fetched(), documents)
            verdicts += [_judge(tools, plan, documents, baseline, one) for one in candidates]
        for verdict in verdicts:
            _note(tools, verdict)
        choice = choose(plan, candidates, verdicts)
        if len(candidates) > 1:
            text = f"candidate {choice.candidate or 'none'} goes on: {choice.reason}"
            tools.journal.event("note", text=text)
        return EvaluateRecord(
            inputs_digest=inputs_digest, verdicts=tuple(verdicts), chosen=choice.candidate
        )


def _judge(
    tools: Tools, plan: Plan, documents: Documents, baseline: Scored, candidate: Candidate
) -> QualityVerdict:
    if candidate.model is None:
        return _without(candidate.id, plan, "failed", f"it was not made: {candidate.error}")
    mine = plan.going_on(candidate.recipe)
    try:
        seen = score(tools, mine, documents, candidate.id, "compressed", candidate.model)
    except NoKernel as error:
        return _without(candidate.id, plan, "unsupported", f"the engine cannot serve it: {error}")
    except (BudgetExceeded, Cancelled, BadInput):
        raise  # the next candidate would meet it too
    except OptikitError as error:
        return _without(candidate.id, plan, "failed", f"it could not be scored: {error}")
    verdict = compare(baseline.runs, seen.runs[0], plan.job.quality.margin, candidate.id)
    return verdict.model_copy(update={"divergence": _divergence(tools, plan, baseline, seen)})


def _divergence(tools: Tools, plan: Plan, baseline: Scored, seen: Scored) -> Divergence | None:
    mine, theirs = baseline.logprobs(tools), seen.logprobs(tools)
    if mine is None or theirs is None:
        return None
    again = baseline.logprobs(tools, 1) if len(baseline.runs) > 1 else None
    return diverge(
        mine,
        theirs,
        top_k=TOP_K,
        seed=plan.job.flow_params.calibration_seed,
        baseline_again=again,
    )


def _without(name: str, plan: Plan, word: str, reason: str) -> QualityVerdict:
    """A verdict on what was not scored."""
    return QualityVerdict.parse(
        {
            "candidate_id": name,
            "verdict": word,
            "margin": plan.job.quality.margin,
            "reason": reason,
        }
    )


def _note(tools: Tools, verdict: QualityVerdict) -> None:
    tools.journal.event("quality", verdict=verdict.model_dump(mode="json"))
    text = f"quality of {verdict.candidate_id}: {verdict.verdict} ({verdict.reason})"
    if verdict.divergence is not None:
        text += f"; {verdict.divergence}"
    tools.journal.event("note", text=text)


STAGE = Evaluate()
