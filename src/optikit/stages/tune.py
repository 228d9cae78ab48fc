"""Tune: a sampler proposes serving configs, each is measured on a fresh engine; the best few and
the default are measured again, interleaved, and the best of those ships."""

from __future__ import annotations

from collections.abc import Sequence

from optikit.core.finalists import contenders, finalists, rounds, shipped_run, winner
from optikit.core.fitness import best
from optikit.core.foresight import predictor_of, space_of
from optikit.core.rate import probe_seed
from optikit.errors import BudgetExceeded
from optikit.spec.plan import Plan
from optikit.spec.record import Contender, Trial, TuneRecord, Usage, Variant
from optikit.stages._finalists import FinalistSearch
from optikit.stages._hints import seen_elsewhere
from optikit.stages._measure import Ask, must_have_run
from optikit.stages._search import TrialSearch, outcome_of
from optikit.stages.base import Inputs, Tools, default_serving, variants

__all__ = ["STAGE"]


class Tune:
    """``num_trials`` trials a variant; the default configuration is known and costs none."""

    name = "tune"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> TuneRecord:
        """Search, compare the best again, then name the winner of the shipped variant.

        An exhausted budget ends the search early; what was measured counts.

        Raises:
            StageFailed: the engine failed in every trial of the shipped variant.
        """
        trials: list[Trial] = []
        usage: dict[str, Usage] = {}
        stopped, avoided = None, 0
        ships = inputs.ships()
        measured = list(inputs.benchmark.trials) if inputs.benchmark else []
        # the variant that ships first: an exhausted budget then costs the ablation, not the job
        order = sorted(variants(plan, inputs), key=lambda variant: variant != ships)
        try:
            for variant in order:
                before = [t for t in measured if t.variant == variant]
                search = self._search(tools, inputs, plan, variant, before)
                try:
                    used = tools.runner.run(
                        search, tools.pool, plan.sku.devices, tools.journal.remaining_s
                    )
                finally:
                    trials += [*search.earlier, *search.trials]
                    avoided += search.avoided
                if not plan.simulated:
                    usage[variant] = used
            again = _compare(tools, inputs, plan, measured, trials)
            if again is not None and not plan.simulated:
                usage["finalists"] = again
        except BudgetExceeded as error:
            stopped = str(error)
            tools.journal.event("note", text=f"tuning ends early: {stopped}")
        shipped = [t for t in measured + trials if t.variant == ships]
        must_have_run(shipped)
        last = contenders((t for t in trials if t.purpose == "finalist"), measured)
        return TuneRecord(
            inputs_digest=inputs_digest,
            trials=tuple(trials),
            winner=_winner(last, shipped, ships),
            stopped_early=stopped,
            contenders=last,
            usage=usage,
            avoided=avoided,
        )

    def _search(
        self, tools: Tools, inputs: Inputs, plan: Plan, variant: Variant, before: list[Trial]
    ) -> TrialSearch:
        """The variant's search, with all that is known of it already."""
        job = plan.job
        space = space_of(plan, variant)
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
        prior = predictor_of(plan, variant, space)
        storage = tools.journal.folder("study", folder)
        study = tools.tuner.start(
            space,
            job.tuner.seed,
            storage,
            url=job.tuner.storage,
            prior=prior,
            known=seen_elsewhere(tools, plan, variant, space, prior),
        )
        for trial in before + mine:
            told = outcome_of(trial, job.slo, job.tuner.slo_penalty_weight)
            study.tell(space.point_of(trial.serving), told)
        return TrialSearch(
            tools=tools,
            plan=plan,
            variant=variant,
            model=model,
            space=space,
            storage=storage,
            study=study,
            prior=prior,
            known=before,
            earlier=mine,
            first=first,
            count=plan.trials - len(mine),
            certify=job.tuner.finalists == 0,
            race=job.tuner.racing,
        )


def _compare(
    tools: Tools, inputs: Inputs, plan: Plan, measured: Sequence[Trial], trials: list[Trial]
) -> Usage | None:
    """Measure the best few and the default of each variant again; what was done is not repeated.

    Rounds are kept: a round's trials start before the next one's.
    """
    tuner = plan.job.tuner
    chosen: list[Trial] = []
    for variant in variants(plan, inputs):
        default = default_serving(plan, variant)
        others = [t for t in trials if t.variant == variant and t.serving != default]
        chosen += [t for t in measured if t.variant == variant and t.rate_rps is not None]
        chosen += finalists(others, tuner.finalists)
    if tuner.finalists == 0 or len(chosen) < 2:
        return None
    done = {t.id: t for t in tools.journal.trials() if t.purpose == "finalist"}
    order: list[str] = []
    asks: list[Ask] = []
    for trial, number in rounds(chosen, tuner.finalist_runs):
        ask = Ask(
            trial_id=f"f{number}-{trial.id}",
            number=number,
            purpose="finalist",
            variant=trial.variant,
            model=inputs.model_of(trial.variant),
            serving=trial.serving,
            start_rps=trial.rate_rps,
            of=trial.id,
            seed=probe_seed(plan.workload.seed, 1000 + number),
        )
        order.append(ask.trial_id)
        past = done.pop(ask.trial_id, None)
        if past is None or past.state == "failed" or past.serving != trial.serving:
            asks.append(ask)
        else:
            trials.append(past)
    if not asks:
        return None
    took = {t.id: t.startup_s + t.measuring_s + t.teardown_s for t in chosen}
    folder = tools.journal.folder("study", "finalists")
    search = FinalistSearch(tools, plan, asks, took, folder)
    try:
        return tools.runner.run(search, tools.pool, plan.sku.devices, tools.journal.remaining_s)
    finally:
        trials += search.trials
        trials.sort(key=lambda t: order.index(t.id) if t.id in order else -1)


def _winner(last: Sequence[Contender], shipped: Sequence[Trial], ships: Variant) -> str | None:
    """The run that ships: the best finalist's, else the best trial."""
    top = winner([c for c in last if c.variant == ships])
    run = shipped_run(top, shipped) if top is not None else None
    found = run or best(t for t in shipped if t.purpose != "finalist")
    return found.id if found else None


STAGE = Tune()
