"""A first job for a model: SKU, recipe, workload, SLO and trials, each with the reason for it.

Nothing here is measured. What fits is ``fit``'s word, what is fast a simulation's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optikit.core.candidates import predicted_request_s
from optikit.core.foresight import Foresight, foresee, predictor_of, space_of
from optikit.core.options import doubt_of
from optikit.core.plan import CpuDtype, make_plan
from optikit.core.predict import Prediction
from optikit.core.skus import sku_order
from optikit.errors import BadInput, DoesNotFit
from optikit.spec.flow import Flow
from optikit.spec.job import DatasetStorage, ModelStorage, OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.recipe import EngineFacts, RecipeFacts
from optikit.spec.record import Variant
from optikit.spec.sku import GIB, ResourceSKU

__all__ = ["Known", "Suggestion", "suggest"]

LENGTHS = (512, 128)
"""Prompt and output in tokens where nobody says: the job spec's own defaults."""
SHORTEST = 8
"""Output in tokens below which lengths are not halved."""
PATIENCE_MS = 2000.0
"""On a CPU lengths are halved until one request alone is predicted to take no longer."""
KNEE = 0.5
"""The limit is the first round one under which so much of the saturation throughput holds."""
LONGEST_H = 12.0
"""Wall time that a first tuning stage may take, as predicted; trials are asked by that."""
TRIALS, FEWEST_TRIALS = 30, 3
QUICK_TRIALS = 2
QUICK: Mapping[str, Mapping[str, object]] = {
    "method": {
        "name": "doubling",
        "requests_per_probe": 40,
        "rate_tolerance": 0.5,
        "max_search_s": 120,
    },
    "tuner": {"finalists": 0},
    "quality": {"limit": 24, "baseline_runs": 1, "divergence_documents": 8},
}
"""What a first try says besides: just enough of every stage to see a job through."""
QUICK_PATIENCE_MS = 500.0
"""As ``PATIENCE_MS``, for a first try."""
QUICK_ROOM = 10.0
"""The limit of a first try is so many times one lone request's predicted latency: a busy CPU was
seen to take five times what is predicted of it, and a first try is to show a rate."""
ALIKE = 1.02
"""Recipes whose predicted times are that near to the best are alike."""
ON_PAPER_SEARCH_S = 86_400.0
_ROUND = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
_LIMITS = 24
"""Round limits that are tried above the latency of one request alone: three powers of ten."""


@dataclass(frozen=True)
class Known:
    """What the caller looked up, and what the user said."""

    model: ModelStorage
    shape: ModelShape
    engine: EngineFacts
    engine_version: str | None
    recipes: Sequence[RecipeFacts]
    flows: Mapping[str, Flow]
    """``quantize_and_tune`` and ``tune``."""
    gpus: Sequence[str] = ()
    """``name, memory MiB, driver`` of each GPU of this machine."""
    cpu_dtype: CpuDtype = "float32"
    dataset: DatasetStorage | None = None
    dataset_rows: int | None = None
    """Rows of it, where they were counted."""
    sku: ResourceSKU | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    quick: bool = False
    """A first try on a real engine: few trials and short probes, whose rate is preliminary."""

    @property
    def says_lengths(self) -> bool:
        """Whether the user said what a request looks like."""
        return self.prompt_tokens is not None or self.output_tokens is not None


@dataclass(frozen=True)
class Suggestion:
    """A job that can be planned as it is, and why each of its values."""

    job: OptimizationJob
    plan: Plan
    ahead: Foresight
    why: Mapping[str, str]
    """By key: sku, recipe, workload, slo, num_trials; calibration_samples, max_search_s and quick
    where the job says them."""


def suggest(known: Known) -> Suggestion:
    """The smallest SKU that holds the model, and on it what is predicted to serve best.

    Raises:
        DoesNotFit: the SKU that was asked for, or every one, is too small; the workload is longer
            than the model's context.
        BadInput: the engine does not serve on the SKU; a simulated engine asked to be quick.
    """
    if known.quick and known.engine.simulated:
        raise BadInput(
            "--quick shortens what a real engine measures; simulated jobs run in virtual time, so "
            "leave it out"
        )
    why: dict[str, str] = {}
    plan = _on_a_sku(known, _lengths(known, why), why)
    plan = _shortened(known, plan, why)
    plan = _with_recipe(known, plan, why)
    plan, default = _with_slo(known, plan, why)
    plan, ahead = _quickly(known, plan, why) if known.quick else _with_trials(known, plan, why)
    shown = ahead.variants[-1]
    why["slo"] += (
        f". PREDICTED under it: {default.rate_rps:.3g} requests/s of the default configuration, "
        f"{shown.best[0].rate_rps:.3g} of the best of {shown.looked_at}"
    )
    return Suggestion(plan.job, plan, ahead, why)


def _planned(known: Known, job: Mapping[str, object]) -> Plan:
    asked = OptimizationJob.parse(job)
    flow = known.flows[asked.flow]
    named = asked.flow_params.recipe if flow.compresses else ()
    return make_plan(
        asked,
        flow,
        known.shape,
        known.engine,
        [recipe for recipe in known.recipes if recipe.name in named],
        known.cpu_dtype,
        engine_version=known.engine_version,
    )


def _changed(known: Known, plan: Plan, **changes: object) -> Plan:
    """The plan of the same job with other values."""
    job = {name: getattr(plan.job, name) for name in plan.job.model_fields_set}
    return _planned(known, {**job, **changes})


def _lengths(known: Known, why: dict[str, str]) -> dict[str, int]:
    """What the user said, else the usual lengths, halved until the model's context holds them."""
    prompt, output = LENGTHS
    if known.says_lengths:
        why["workload"] = "as it was asked for"
        prompt = prompt if known.prompt_tokens is None else known.prompt_tokens
        output = output if known.output_tokens is None else known.output_tokens
        return {"prompt_tokens": prompt, "output_tokens": output}
    why["workload"] = "a usual request; put what yours look like, every figure depends on it"
    while prompt + output > known.shape.max_context and output > 1:
        prompt, output = prompt // 2, output // 2
        why["workload"] = f"what the model's context of {known.shape.max_context} tokens holds"
    return {"prompt_tokens": prompt, "output_tokens": output}


def _on_a_sku(known: Known, lengths: Mapping[str, int], why: dict[str, str]) -> Plan:
    """The model as it is on the first SKU that holds it: a quality gate needs that one too."""
    order = sku_order(known.sku, known.engine.simulated, known.gpus)
    job: dict[str, object] = {
        "flow": "tune",
        "model": known.model,
        "engine": known.engine.name,
        "workload": lengths,
    }
    if known.dataset is not None:
        job["dataset"] = known.dataset
    too_small: list[str] = []
    last: BadInput | None = None
    for sku in order.skus:
        try:
            plan = _planned(known, {**job, "compute": {"sku": sku}})
        except BadInput as error:
            too_small.append(sku.value)
            last = error
            continue
        weights = plan.baseline_weight_bytes / GIB
        why["sku"] = (
            f"{order.why(sku)}. {weights:.3g} GiB of weights at 16 bit stand there, TP "
            + (str(plan.serving.tensor_parallel))
        )
        if too_small:
            why["sku"] += f"; they do not on {', '.join(too_small)}"
        return plan
    assert last is not None, "there is always a SKU to try"
    if known.sku is None and isinstance(last, DoesNotFit):
        raise DoesNotFit(f"no SKU holds {known.model.name}. The largest: {last}")
    raise last


def _alone(plan: Plan) -> Prediction:
    """What is predicted of the default configuration of what ships."""
    ships: Variant = "compressed" if plan.flow.compresses else "baseline"
    space = space_of(plan, ships)
    return predictor_of(plan, ships, space).predict(space.point_of(space.default))


def _shortened(known: Known, plan: Plan, why: dict[str, str]) -> Plan:
    """On a CPU: a request that a first job can send some thousand times."""
    if plan.sku.kind != "cpu" or known.says_lengths:
        return plan
    work, asked = plan.job.workload, plan.job.workload
    patience_ms = QUICK_PATIENCE_MS if known.quick else PATIENCE_MS
    while _alone(plan).e2e_ms > patience_ms and work.output_tokens.high > SHORTEST:
        prompt, output = work.prompt_tokens.high // 2, work.output_tokens.high // 2
        plan = _changed(known, plan, workload={"prompt_tokens": prompt, "output_tokens": output})
        work = plan.job.workload
    if work != asked:
        why["workload"] = (
            f"short, for a CPU: PREDICTED {_time(_alone(plan).e2e_ms)} for one request alone. "
            "Put what yours look like"
        )
    return plan


def _with_recipe(known: Known, plan: Plan, why: dict[str, str]) -> Plan:
    """The 8-bit recipe that is predicted to serve fastest; without one the model as it is."""
    able = [
        option
        for recipe in known.recipes
        if _loses_little(recipe) and (known.dataset is not None or not recipe.needs_calibration)
        for option in _compressed(known, plan, recipe)
    ]
    if not able:
        why["recipe"] = (
            "none: no 8-bit recipe has a kernel on this SKU, so the model stays as it is"
        )
        return plan
    times = [predicted_request_s(option, option) for option in able]
    if any(seconds is None for seconds in times):
        cost = [float(option.weight_bytes) for option in able]
        by = "smallest (how fast their arithmetic is on this SKU is not known)"
    else:
        cost, by = [seconds for seconds in times if seconds is not None], "PREDICTED to be fastest"
    least = min(cost)
    alike = [option for option, one in zip(able, cost, strict=True) if one <= ALIKE * least]
    chosen = min(alike, key=lambda option: _preference(option, known.dataset is not None))
    recipe = chosen.recipe
    assert recipe is not None, "an option of a compressing flow has a recipe"
    others = [o.recipe.name for o in able if o.recipe is not None and o.recipe != recipe]
    why["recipe"] = f"{recipe.summary}; of the 8-bit recipes that run here the one that is {by}"
    before = predicted_request_s(plan, plan)
    after = predicted_request_s(chosen, chosen)
    if before and after:
        why["recipe"] += f": {before / after:.2g} times the model as it is"
    why["recipe"] += f". Others that run here: {', '.join(others)}" if others else ""
    if chosen.job.flow_params.calibration_samples is not None:
        why["calibration_samples"] = (
            f"all rows of the dataset; {recipe.name} would like {recipe.default_samples}"
        )
    if known.dataset is None and not known.engine.simulated:
        why["recipe"] += ". Recipes that calibrate need a dataset (--dataset)"
    return chosen


def _loses_little(recipe: RecipeFacts) -> bool:
    """Fewer than 8 bits, and a KV cache in 8, save more and may cost quality: that is to be asked
    for, not suggested."""
    return (
        recipe.scheme != "none"
        and recipe.block_bytes_per_parameter >= 1
        and recipe.kv_dtype == "own"
    )


def _compressed(known: Known, plan: Plan, recipe: RecipeFacts) -> Iterator[Plan]:
    """The plan with that recipe, where it runs without a doubt."""
    if doubt_of(plan.job, known.engine, recipe) is not None:
        return
    params: dict[str, object] = {"recipe": recipe.name}
    if known.engine.simulated:
        params["ablation"] = True  # on paper the other corners cost seconds
    rows = known.dataset_rows
    if recipe.needs_calibration and rows is not None and rows < recipe.default_samples:
        params["calibration_samples"] = rows
    try:
        yield _changed(known, plan, flow="quantize_and_tune", flow_params=params)
    except BadInput:
        return


def _preference(option: Plan, calibrates: bool) -> tuple[bool, str]:
    """Of recipes that are alike, one that uses the calibration text where there is some."""
    recipe = option.recipe
    assert recipe is not None, "an option of a compressing flow has a recipe"
    return recipe.needs_calibration != calibrates, recipe.name


def _with_slo(known: Known, plan: Plan, why: dict[str, str]) -> tuple[Plan, Prediction]:
    """A bound on the latency that leaves room for a load; what the default holds under it."""
    free = _alone(plan)
    room = QUICK_ROOM if known.quick else 1.0
    for limit_ms in _limits(room * free.e2e_ms):
        tried = _changed(known, plan, slo=[f"p95(e2e) <= {limit_ms:g} ms"])
        found = _alone(tried)
        if found.rate_rps >= KNEE * free.rate_rps:
            break
    why["slo"] = (
        f"PREDICTED, not measured: one request alone takes {_time(free.e2e_ms)}. This is the first "
        f"round limit {_above(room)}under which {KNEE:.0%} of the saturation throughput "
        "hold: put what your users need"
    )
    return tried, found


def _above(room: float) -> str:
    return "" if room == 1.0 else f"above {room:g} times that, and "


def _limits(least_ms: float) -> Iterator[float]:
    """Round numbers above ``least_ms``, ascending."""
    power = 1.0
    while power * _ROUND[-1] < least_ms:
        power *= 10
    limits = (10**k * power * part for k in range(4) for part in _ROUND)
    above = [limit for limit in limits if limit >= max(least_ms, 1.0)]
    yield from above[:_LIMITS]


def _time(ms: float) -> str:
    return f"{ms / 1e3:.3g} s" if ms >= 1e3 else f"{ms:.3g} ms"


def _quickly(known: Known, plan: Plan, why: dict[str, str]) -> tuple[Plan, Foresight]:
    """Just enough of every stage to see a job through; what it says is preliminary."""
    trials = min(QUICK_TRIALS, plan.space.size)
    more = {key: QUICK[key] for key in QUICK if key != "quality" or plan.flow.compresses}
    params = {**_said(plan), "num_trials": trials}
    plan = _changed(known, plan, flow_params=params, **more)
    why["num_trials"] = f"of {plan.space.size} configurations; --quick: enough to see how it goes"
    why["quick"] = (
        "--quick: so little is measured that the rate is preliminary and the quality verdict "
        "likely 'cannot tell'. For a job that certifies write a spec without --quick"
    )
    return plan, foresee(plan)


def _said(plan: Plan) -> dict[str, object]:
    """What the job's flow parameters say already."""
    params = plan.job.flow_params
    return {name: getattr(params, name) for name in params.model_fields_set}


def _with_trials(known: Known, plan: Plan, why: dict[str, str]) -> tuple[Plan, Foresight]:
    """As many trials as a night holds, as predicted; on paper they cost nothing."""
    params = _said(plan)

    def asking(trials: int) -> tuple[Plan, Foresight]:
        tried = _changed(known, plan, flow_params={**params, "num_trials": trials})
        return tried, foresee(tried)

    most = min(TRIALS, plan.space.size)
    tried, ahead = asking(most)
    if known.engine.simulated:
        why["num_trials"] = f"of {plan.space.size} configurations; on paper a trial costs seconds"
        if max(row.trial_s for row in ahead.variants[-1].best) > plan.job.method.max_search_s:
            why["max_search_s"] = "virtual seconds for each configuration; they cost nothing"
            tried = _changed(known, tried, method={"max_search_s": ON_PAPER_SEARCH_S})
        return tried, ahead
    hours = ahead.device_hours / plan.sku.devices
    if hours > LONGEST_H:
        again = 1 - most / ahead.trials  # share of the finalists, which do not shrink
        fewer = int(most * max(0.0, LONGEST_H / hours - again) / (1 - again))
        tried, ahead = asking(max(FEWEST_TRIALS, min(fewer, most)))
    why["num_trials"] = (
        f"of {plan.space.size} configurations; PREDICTED, an order of size: "
        f"{ahead.device_hours:.2g} device-hours with the finalists"
    )
    return tried, ahead
