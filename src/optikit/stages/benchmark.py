"""Benchmark: the rate that the default configuration holds, for each variant that is asked for."""

from __future__ import annotations

from optikit.spec.plan import Plan
from optikit.spec.record import BenchmarkRecord, Trial
from optikit.stages._certified import write_certificate
from optikit.stages._measure import Ask, measure, must_have_run
from optikit.stages.base import Inputs, Tools, default_serving, variants

__all__ = ["STAGE"]


class Benchmark:
    """One trial a variant, each on a fresh server."""

    name = "benchmark"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> BenchmarkRecord:
        """Measure the default configuration.

        Trials that an earlier run of the job ended are taken as they are.

        Raises:
            StageFailed: the engine failed in every trial, and no tuning follows that may find a
                configuration that works.
        """
        done = {t.id: t for t in tools.journal.trials() if t.state == "complete"}
        trials: list[Trial] = []
        start: float | None = None
        for number, variant in enumerate(variants(plan, inputs)):
            trial_id = f"b{number}-{variant}"
            trial = done.get(trial_id)
            model = inputs.model_of(variant)
            if trial is None or trial.model_digest != model.digest:
                serving = default_serving(plan, variant)
                ask = Ask(trial_id, number, "benchmark", variant, model, serving, start)
                trial = measure(tools, plan, ask)
            trials.append(trial)
            start = trial.rate_rps or start
        if "tune" not in plan.flow.stages:
            must_have_run(trials)
        digest = write_certificate(tools, plan, trials[0]) if plan.elsewhere else None
        return BenchmarkRecord(
            inputs_digest=inputs_digest, trials=tuple(trials), certificate_digest=digest
        )


STAGE = Benchmark()
