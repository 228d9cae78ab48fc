"""What a tuning stage is expected to find and to cost, before anything runs.

Every figure is a simulation's (``predict.py``); the command line labels it so.
"""

from __future__ import annotations

from optikit.core.predict import Prediction, Predictor
from optikit.core.space import Space, why_not
from optikit.errors import BadInput, DoesNotFit
from optikit.spec.base import Spec
from optikit.spec.plan import Plan
from optikit.spec.recipe import RecipeFacts
from optikit.spec.record import Variant
from optikit.spec.serving import Flag, ServingConfig

__all__ = ["Expected", "Foresight", "VariantAhead", "foresee", "predictor_of", "space_of"]

START_S = {"cpu": 15.0, "gpu": 120.0}
"""Start of a server, an order of size until one was measured."""
SHOWN = 5
LOOKED_AT = 512


class Expected(Spec):
    """One configuration with its predicted figures."""

    point: dict[str, Flag]
    rate_rps: float
    rate_per_device: float
    ttft_ms: float
    tpot_ms: float
    trial_s: float


class VariantAhead(Spec):
    """One variant's search."""

    variant: Variant
    looked_at: int
    best: tuple[Expected, ...]
    """The best few, best first."""
    default_per_device: float
    gain: float | None
    """Of the predicted best over the default; None: the default holds no rate."""


class Foresight(Spec):
    """Predicted, never measured."""

    variants: tuple[VariantAhead, ...]
    trials: int
    device_hours: float
    """Of all trials and finalists, where every trial is one of the predicted best."""
    source: str
    """Where the step times come from."""


def space_of(plan: Plan, variant: Variant) -> Space:
    """The points of a variant, with what is known to speak against them."""
    resolved, recipe, default = plan.space, plan.recipe, plan.serving
    if variant == "baseline":
        recipe = None if plan.flow.compresses else plan.recipe
        resolved = plan.baseline_space or resolved
        default = plan.baseline_serving or default

    def refuse(serving: ServingConfig) -> str | None:
        return why_not(plan.shape, recipe, plan.sku, serving)

    return Space(resolved.dimensions, refuse, default)


def predictor_of(plan: Plan, variant: Variant, space: Space) -> Predictor:
    """The prior of a variant's search.

    Where the device's speed in the recipe's dtype is not known (int8 on a CPU), it is taken for
    that of the model's own dtype: trials will correct it.
    """
    recipe = plan.recipe if variant == "compressed" else None
    try:
        return _predictor(plan, recipe, space)
    except DoesNotFit:
        assert recipe is not None, "a model's own dtype has a speed on every SKU"
        return _predictor(plan, recipe.model_copy(update={"compute_dtype": "own"}), space)


def _predictor(plan: Plan, recipe: RecipeFacts | None, space: Space) -> Predictor:
    return Predictor(
        plan.shape,
        recipe,
        plan.sku,
        plan.workload,
        plan.job.slo,
        space,
        start_s=START_S[plan.sku.kind],
        trace=plan.trace,
    )


def foresee(plan: Plan) -> Foresight:
    """Predict every configuration (of a large space a sample) of the shipped variant, and of the
    baseline where the four corners are asked for.

    Raises:
        BadInput: the server is somebody else's.
    """
    if plan.elsewhere:
        raise BadInput(
            "--predict: nothing is known of the model and the machine of a server that somebody "
            "else runs, so nothing can be predicted; measure it"
        )
    ships: Variant = "compressed" if plan.flow.compresses else "baseline"
    asked = plan.job.flow_params.ablation and ships == "compressed"
    variants: tuple[Variant, ...] = ("baseline", ships) if asked else (ships,)
    found: list[VariantAhead] = []
    seconds, trials, source = 0.0, 0, ""
    tuner = plan.job.tuner
    for variant in variants:
        space = space_of(plan, variant)
        prior = predictor_of(plan, variant, space)
        points = space.points(LOOKED_AT)
        ranked = sorted(
            ((prior.predict(point), point) for point in points),
            key=lambda pair: -pair[0].rate_per_device,
        )
        default = prior.predict(space.point_of(space.default))
        top = ranked[0][0].rate_per_device if ranked else 0.0
        found.append(
            VariantAhead(
                variant=variant,
                looked_at=len(points),
                best=tuple(_expected(p, point) for p, point in ranked[:SHOWN]),
                default_per_device=default.rate_per_device,
                gain=top / default.rate_per_device if default.rate_per_device > 0 else None,
            )
        )
        chosen = ranked[: plan.trials]
        again = [(default, space.default.devices)] + [
            (p, space.serving(point).devices) for p, point in ranked[: tuner.finalists]
        ]
        runs = tuner.finalist_runs if tuner.finalists else 0
        seconds += sum(p.trial_s * space.serving(point).devices for p, point in chosen)
        seconds += runs * sum(p.trial_s * devices for p, devices in again)
        trials += len(chosen) + runs * len(again)
        source = prior.source
    return Foresight(
        variants=tuple(found), trials=trials, device_hours=seconds / 3600, source=source
    )


def _expected(prediction: Prediction, point: dict[str, Flag]) -> Expected:
    return Expected(
        point=point,
        rate_rps=prediction.rate_rps,
        rate_per_device=prediction.rate_per_device,
        ttft_ms=prediction.ttft_ms,
        tpot_ms=prediction.tpot_ms,
        trial_s=prediction.trial_s,
    )
