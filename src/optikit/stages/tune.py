"""Tune: a sampler proposes serving configs, each is measured on a fresh engine, the best ships."""

from __future__ import annotations

from optikit.core.fitness import best
from optikit.core.space import apply_point, point_of
from optikit.errors import BudgetExceeded
from optikit.spec.plan import Plan
from optikit.spec.record import Trial, TuneRecord, Variant
from optikit.stages._measure import Ask, measure, must_have_run
from optikit.stages.base import Inputs, Tools, default_serving, variants

__all__ = ["STAGE"]

HOPELESS = 3
"""So many trials, the default included, that all failed in the engine end the search."""


class Tune:
    """``num_trials`` trials a variant; the default configuration is known and costs none."""

    name = "tune"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> TuneRecord:
        """Search, then name the winner among the shipped variant's trials.

        An exhausted budget ends the search early; what was measured counts.

        Raises:
            StageFailed: the engine failed in every trial of the shipped variant.
        """
        trials: list[Trial] = []
        stopped = None
        ships = inputs.ships()
        measured = list(inputs.benchmark.trials) if inputs.benchmark else []
        # the variant that ships first: an exhausted budget then costs the ablation, not the job
        order = sorted(variants(plan, inputs), key=lambda variant: variant != ships)
        for variant in order:
            before = [t for t in measured if t.variant == variant]
            try:
                self._search(tools, inputs, plan, variant, before, trials)
            except BudgetExceeded as error:
                stopped = str(error)
                tools.journal.event("note", text=f"tuning ends early: {stopped}")
                break
        shipped = [t for t in measured + trials if t.variant == ships]
        must_have_run(shipped)
        winner = best(shipped)
        return TuneRecord(
            inputs_digest=inputs_digest,
            trials=tuple(trials),
            winner=winner.id if winner else None,
            stopped_early=stopped,
        )

    def _search(
        self,
        tools: Tools,
        inputs: Inputs,
        plan: Plan,
        variant: Variant,
        before: list[Trial],
        trials: list[Trial],
    ) -> None:
        space = plan.space
        if variant == "baseline" and plan.baseline_space is not None:
            space = plan.baseline_space
        default = default_serving(plan, variant)
        model = inputs.model_of(variant)
        mine = [
            t
            for t in tools.journal.trials()
            if t.purpose == "tune" and t.variant == variant and t.model_digest == model.digest
        ]
        first = 1 + max((t.number for t in mine), default=-1)
        folder: str = variant
        if mine and all(trial.state == "failed" for trial in mine):
            # a resume after the engine was mended asks for them anew
            mine, folder = [], f"{variant}-{first}"
        storage = tools.journal.folder("study", folder)
        study = tools.tuner.start(space, plan.job.tuner.seed, storage)
        for trial in before + mine:
            study.tell(point_of(trial.serving), trial.fitness)
        trials.extend(mine)
        known = before + mine
        for number in range(first, first + plan.trials - len(mine)):
            if len(known) >= HOPELESS:
                must_have_run(known)
            tools.journal.remaining_s()
            point = study.ask()
            if point is None:
                return
            incumbent = best(known)
            ask = Ask(
                trial_id=f"t{number:02d}-{variant}",
                number=number,
                purpose="tune",
                variant=variant,
                model=model,
                serving=apply_point(default, dict(point)),
                start_rps=_scaled(incumbent, point["tensor_parallel"]),
            )
            trial = measure(tools, plan, ask)
            study.tell(point, trial.fitness)
            trials.append(trial)
            known.append(trial)


def _scaled(incumbent: Trial | None, tensor_parallel: int) -> float | None:
    """The incumbent's rate for as many devices as the trial has: a good first probe."""
    if incumbent is None or incumbent.rate_rps is None:
        return None
    return incumbent.rate_rps * tensor_parallel / incumbent.serving.devices


STAGE = Tune()
