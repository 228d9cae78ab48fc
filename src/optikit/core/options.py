"""The recipes that a job asked for, each held against engine, SKU and memory: tried or left out."""

from __future__ import annotations

from collections.abc import Sequence

from optikit.core.dimensions import fitting_degrees, resolve_space
from optikit.core.fit import fit, weight_bytes
from optikit.errors import BadInput, DoesNotFit, SpecError
from optikit.spec.flow import Flow
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Option
from optikit.spec.recipe import EngineFacts, RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts

__all__ = ["Options", "doubt_of", "resolve_options"]


class Options:
    """What can be tried, in the order asked; why the rest cannot; what a person should know."""

    def __init__(self) -> None:
        self.tried: list[Option] = []
        self.left_out: dict[str, str] = {}
        self.warnings: list[str] = []


def resolve_options(
    job: OptimizationJob,
    flow: Flow,
    shape: ModelShape,
    engine: EngineFacts,
    recipes: Sequence[RecipeFacts],
    default: ServingConfig,
    engine_version: str | None = None,
) -> Options:
    """Hold each recipe against engine and SKU; without any, the model as it is.

    One recipe that cannot run ends the plan with its reason. Of several, those that cannot are left
    out with a warning, and nothing is spent on them.

    Args:
        default: serving config of the SKU's kind, at TP 1.
        engine_version: None: not known; then no recipe is refused for it.

    Raises:
        SpecError: no recipe can run; says why for each.
        DoesNotFit: the only recipe (or the model as it is) cannot stand on the SKU.
    """
    found = Options()
    if not recipes:
        found.tried.append(_option(job, flow, shape, engine, None, default))
        return found
    calibrates = [r.name for r in recipes if r.needs_calibration and not engine.simulated]
    if calibrates and job.dataset is None:
        raise SpecError(
            f"dataset: recipe {', '.join(calibrates)} needs calibration text; "
            "name a folder of JSONL, parquet or text, or choose a recipe that needs none"
        )
    problems: dict[str, BadInput] = {}
    for recipe in recipes:
        try:
            _runs(job, flow, engine, recipe, engine_version)
            found.tried.append(_option(job, flow, shape, engine, recipe, default))
        except BadInput as problem:
            problems[recipe.name] = problem
            continue
        doubt = doubt_of(job, engine, recipe)
        if doubt:
            found.warnings.append(doubt)
    if not found.tried:
        if len(problems) == 1:
            raise next(iter(problems.values()))
        raise SpecError("; ".join(str(problem) for problem in problems.values()))
    found.left_out = {name: str(problem) for name, problem in problems.items()}
    found.warnings += [f"left out: {reason}" for reason in found.left_out.values()]
    return found


def _option(
    job: OptimizationJob,
    flow: Flow,
    shape: ModelShape,
    engine: EngineFacts,
    recipe: RecipeFacts | None,
    default: ServingConfig,
) -> Option:
    sku = job.compute.sku.facts
    degrees = fitting_degrees(job, shape, recipe, sku, default)
    if not degrees:
        raise DoesNotFit(_why_not(job, shape, recipe, sku, default))
    samples = 0
    if recipe is not None and recipe.needs_calibration and not engine.simulated:
        samples = job.flow_params.calibration_samples or recipe.default_samples
    serving = default.model_copy(update={"tensor_parallel": degrees[0]})
    space = resolve_space(job, shape, recipe, sku, serving, degrees)
    tunes = "tune" in flow.stages
    return Option(
        recipe=recipe,
        calibration_samples=samples,
        tensor_parallel=degrees,
        serving=serving,
        space=space,
        trials=min(job.flow_params.num_trials, space.size) if tunes else 0,
        weight_bytes=weight_bytes(shape, recipe),
    )


def _runs(
    job: OptimizationJob,
    flow: Flow,
    engine: EngineFacts,
    recipe: RecipeFacts,
    engine_version: str | None,
) -> None:
    """Raise SpecError for a recipe that surely cannot be served."""
    sku = job.compute.sku.facts
    served = engine.serves.get(sku.kind, ())
    if recipe.scheme == "none":
        raise SpecError(
            f"flow_params.recipe: 'none' leaves nothing to compress in flow {flow.name}; "
            "choose flow 'tune' or 'benchmark', or another recipe"
        )
    if recipe.scheme not in (*served, *engine.doubtful.get(sku.kind, ())):
        raise SpecError(
            f"flow_params.recipe: {recipe.name} writes {recipe.scheme}, for which engine "
            f"{engine.name} has no kernel on {sku.kind}; it serves {', '.join(served)}"
        )
    needed = recipe.engines.get(engine.name)
    if needed and engine_version and _numbers(engine_version) < _numbers(needed):
        raise SpecError(
            f"flow_params.recipe: {recipe.name} needs {engine.name} {needed} or later, found "
            f"{engine_version}; upgrade the engine's environment, or choose another recipe"
        )
    computes = recipe.computes_in(sku.accelerator)
    if computes is None:
        raise SpecError(
            f"flow_params.recipe: {engine.name} has no kernel for {recipe.scheme} on "
            f"{sku.accelerator or 'a CPU'}; choose another recipe, or another SKU than "
            f"{job.compute.sku}"
        )
    if engine.simulated and computes != "own" and computes not in sku.flops_per_s:
        raise SpecError(
            f"flow_params.recipe: {recipe.name} computes in {computes}, whose speed on "
            f"{job.compute.sku} is not known, so it cannot be simulated there; choose a GPU SKU, "
            "or a flow that does not compress"
        )


def doubt_of(job: OptimizationJob, engine: EngineFacts, recipe: RecipeFacts) -> str | None:
    """What a person should know before this recipe is tried on the job's SKU; None: nothing."""
    sku = job.compute.sku.facts
    if recipe.scheme in engine.doubtful.get(sku.kind, ()):
        return (
            f"{recipe.name}: not every {sku.kind} has a kernel of {engine.name} for "
            f"{recipe.scheme}; the job finds out after compression"
        )
    if sku.kind == "cpu" and recipe.compute_dtype == "fp8":
        return (
            f"{recipe.name}: a CPU emulates fp8; the server answers, slower by orders of size, so "
            "scoring and measuring may not end in time. It is meant for GPUs"
        )
    if sku.accelerator and recipe.computes_in(sku.accelerator) != recipe.compute_dtype:
        return (
            f"{recipe.name}: {sku.accelerator} has no {recipe.compute_dtype} arithmetic, so the "
            "weights are unpacked to the model's own dtype: less memory, not more FLOP/s"
        )
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version: ``0.11.1+cpu`` -> (0, 11, 1)."""
    digits: list[int] = []
    for part in version.split("+")[0].split("."):
        head = "".join(c for c in part if c.isdigit()) if part[:1].isdigit() else ""
        if not head:
            break
        digits.append(int(head))
    return tuple(digits)


def _why_not(
    job: OptimizationJob,
    shape: ModelShape,
    recipe: RecipeFacts | None,
    sku: SkuFacts,
    default: ServingConfig,
) -> str:
    degrees = job.flow_params.space.tensor_parallel or tuple(
        1 << k for k in range(sku.devices.bit_length())
    )
    reasons = [
        f"TP {degree}: "
        + fit(shape, recipe, sku, default.model_copy(update={"tensor_parallel": degree})).reason
        for degree in degrees
    ]
    as_what = f" as {recipe.name}" if recipe else ""
    return (
        f"{job.model.name}{as_what} does not fit {job.compute.sku}. {'; '.join(reasons)}. "
        "Choose a SKU with more memory, a smaller recipe, or a shorter workload."
    )
