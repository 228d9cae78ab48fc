"""Evaluate: score baseline and candidates on the same items through the engine that will ship."""

from __future__ import annotations

from pathlib import Path

from optikit.core.quality import compare
from optikit.errors import EngineError, EngineStartFailed
from optikit.spec.plan import Plan
from optikit.spec.record import ArtifactRef, EvaluateRecord, ItemScores, QualityVerdict, Variant
from optikit.spec.serving import ServingConfig
from optikit.stages.base import (
    Inputs,
    Tools,
    attempt,
    default_serving,
    resources_for,
    write_lines,
)

__all__ = ["STAGE"]

ITEM_TOKENS = 2048
"""Context that is served while scoring: lm-evaluation-harness's own default for API models."""


class Evaluate:
    """The quality gate."""

    name = "evaluate"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> EvaluateRecord:
        """Score, compare, choose: a kept candidate first, else one of which nothing can be told.

        A candidate that the engine cannot serve is 'unsupported', which is a verdict.

        Raises:
            EngineError: the baseline cannot be served.
            BadInput: a task that cannot be loaded.
        """
        baseline = _scores(tools, plan, "baseline", "baseline", inputs.fetched().model)
        verdicts: list[QualityVerdict] = []
        margin = plan.job.quality.margin
        for candidate in inputs.compress.candidates if inputs.compress else ():
            try:
                scores = _scores(tools, plan, candidate.id, "compressed", candidate.model)
            except EngineStartFailed as error:
                verdict = QualityVerdict(
                    candidate_id=candidate.id,
                    verdict="unsupported",
                    margin=margin,
                    reason=f"the engine cannot serve it: {error}",
                    tasks=(),
                )
            else:
                verdict = compare(baseline, scores, margin, candidate.id)
            tools.journal.event("quality", verdict=verdict.model_dump(mode="json"))
            tools.journal.event(
                "note", text=f"quality of {candidate.id}: {verdict.verdict} ({verdict.reason})"
            )
            verdicts.append(verdict)
        ranked = [v for v in verdicts if v.verdict == "kept"]
        ranked += [v for v in verdicts if v.verdict == "cannot tell"]
        return EvaluateRecord(
            inputs_digest=inputs_digest,
            verdicts=tuple(verdicts),
            chosen=ranked[0].candidate_id if ranked else None,
        )


def _scores(
    tools: Tools, plan: Plan, name: str, variant: Variant, model: ArtifactRef
) -> tuple[ItemScores, ...]:
    devices = default_serving(plan, variant).devices
    scores, _ = attempt(
        tools,
        f"evaluation of {name}",
        resources_for(plan, devices),
        _score_here,
        tools.without_pool(),
        plan,
        name,
        variant,
        model,
    )
    return scores


def _score_here(
    tools: Tools, plan: Plan, name: str, variant: Variant, model: ArtifactRef
) -> tuple[ItemScores, ...]:
    """In the worker: serve the model, score it, keep every item's score."""
    job, journal = plan.job, tools.journal
    folder = journal.folder("quality", name)
    serving = _serving(plan, variant)
    with tools.engine.serve(
        Path(model.path),
        serving,
        plan.sku.kind,
        vocab=plan.shape.vocab,
        log=folder / "engine.log",
        port=job.engine.port,
        start_timeout_s=job.engine.start_timeout_s,
        what=f"{job.engine.name} server of the evaluation of {name}",
        on_start=lambda group: journal.event("process_group", group=group.model_dump(mode="json")),
    ) as server:
        try:
            scores = tools.evaluator.score(
                server.endpoint,
                Path(model.path),
                job.quality.tasks,
                context=serving.max_model_len,
                limit=job.quality.limit,
                work=folder,
            )
        except EngineError:
            server.check()  # a server that died says why in its log
            raise
    write_lines(folder / "items.jsonl", (one.model_dump(mode="json") for one in scores))
    return scores


def _serving(plan: Plan, variant: Variant) -> ServingConfig:
    """The default configuration with room for the tasks' items, which the workload says nothing of.

    A workload of short requests would refuse them: its max_model_len is 1.15 x its own length.
    """
    serving = default_serving(plan, variant)
    room = min(plan.shape.max_context, max(serving.max_model_len, ITEM_TOKENS))
    return serving.model_copy(update={"max_model_len": room})


STAGE = Evaluate()
