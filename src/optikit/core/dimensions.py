"""The search space of a job: what SKU, shape and workload leave of the flags that it may tune."""

from __future__ import annotations

import math
from collections.abc import Mapping

from optikit.core.fit import fit, splits
from optikit.core.space import Space, why_not
from optikit.errors import DoesNotFit, SpecError
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import Flag, ServingConfig
from optikit.spec.sku import SkuFacts
from optikit.spec.space import Dimension, ResolvedSpace, SearchSpace
from optikit.spec.workload import Trace

__all__ = ["context_length", "fitting_degrees", "resolve_space"]

HEADROOM = 1.15
"""max_model_len over the workload's tokens, as in the talk's paper (arXiv 2601.20408)."""
_SEQS = {"gpu": (32, 64, 128, 256, 512), "cpu": (4, 16, 64, 128)}
_NAMED: Mapping[str, tuple[Flag, ...]] = {
    "data_parallel": (1, 2, 4, 8),
    "gpu_memory_utilization": (0.85, 0.9, 0.95),
    "enable_prefix_caching": (False, True),
    "kv_cache_dtype": ("auto", "fp8"),
    "block_size": (16, 32, 64),
    "speculative_ngram": (0, 2, 4),
    "scheduling_policy": ("fcfs", "priority"),
    "enforce_eager": (False, True),
}
"""Dimensions that are searched when they are named, with the values they have by default."""
_BY_FACTORS = ("data_parallel", "block_size")
_BATCHED = {"gpu": (2048, 4096, 8192, 16384), "cpu": (256, 1024, 2048, 4096)}


def context_length(job: OptimizationJob, shape: ModelShape, trace: Trace | None = None) -> int:
    """max_model_len in tokens: 1.15 x the longest request, a multiple of 16, within the model.

    Args:
        trace: the workload's, whose longest request counts then.

    Raises:
        DoesNotFit: the longest request is longer than the model's context.
    """
    work = job.workload
    prompt, output = work.prompt_tokens.high, work.output_tokens.high
    asked = f"{prompt} prompt + {output} output"
    if trace is not None:
        row = trace.longest
        prompt, output = trace.prompt_tokens[row], trace.output_tokens[row]
        asked = f"{prompt} prompt + {output} output (request {row + 1} of {trace.source})"
    elif work.prompt_tokens.distribution != "fixed" or work.output_tokens.distribution != "fixed":
        asked = f"at most {asked}"
    need = prompt + output
    if need > shape.max_context:
        raise DoesNotFit(
            f"workload: asked {asked} = {need} tokens; {job.model.name} has a context of "
            f"{shape.max_context}. Shorten the workload or choose a model with a longer context."
        )
    return min(shape.max_context, 16 * math.ceil(HEADROOM * need / 16))


def fitting_degrees(
    job: OptimizationJob,
    shape: ModelShape,
    recipe: RecipeFacts | None,
    sku: SkuFacts,
    serving: ServingConfig,
) -> tuple[int, ...]:
    """Tensor-parallel degrees that can stand: those asked for, else powers of two of the SKU.

    Raises:
        DoesNotFit: a degree that was asked for cannot split the model or exceeds the SKU.
    """
    asked = job.flow_params.space.tensor_parallel
    for degree in asked or ():
        reason = splits(shape, degree)
        if reason is None and degree > sku.devices:
            reason = f"{job.compute.sku} has {sku.devices} device(s)"
        if reason:
            raise DoesNotFit(
                f"flow_params.space.tensor_parallel: asked {degree}, but {reason}. "
                f"Degrees that work for {job.model.name} on {job.compute.sku}: "
                f"{_workable(shape, sku)}."
            )
    degrees = asked or _workable(shape, sku)
    return tuple(
        degree
        for degree in sorted(set(degrees))
        if fit(shape, recipe, sku, serving.model_copy(update={"tensor_parallel": degree})).fits
    )


def _workable(shape: ModelShape, sku: SkuFacts) -> tuple[int, ...]:
    powers = [1 << k for k in range(sku.devices.bit_length())]
    return tuple(p for p in powers if p <= sku.devices and splits(shape, p) is None)


def resolve_space(
    job: OptimizationJob,
    shape: ModelShape,
    recipe: RecipeFacts | None,
    sku: SkuFacts,
    default: ServingConfig,
    degrees: tuple[int, ...],
) -> ResolvedSpace:
    """The dimensions, and how many of their combinations can stand.

    Args:
        default: what a point leaves as it is.
        degrees: tensor-parallel degrees that fit.

    Raises:
        SpecError: no combination can stand, and why; or a flag that is named twice.
    """
    dimensions = _dimensions(job, sku, default, degrees)
    space = Space(dimensions, lambda serving: why_not(shape, recipe, sku, serving), default)
    size, left_out = space.counted()
    if size == 0:
        reasons = "; ".join(f"{reason} ({count}x)" for reason, count in left_out.items())
        raise SpecError(
            f"flow_params.space: none of its {space.combinations} configurations can stand on "
            f"{job.compute.sku}: {reasons}. Widen the space, or choose another SKU."
        )
    return ResolvedSpace(dimensions=dimensions, size=size, left_out=left_out)


def _dimensions(
    job: OptimizationJob, sku: SkuFacts, default: ServingConfig, degrees: tuple[int, ...]
) -> tuple[Dimension, ...]:
    asked = job.flow_params.space
    found = [
        Dimension(name="tensor_parallel", values=degrees, log=True),
        _whole("max_num_seqs", asked.max_num_seqs or _SEQS[sku.kind]),
        _whole("max_num_batched_tokens", asked.max_num_batched_tokens or _BATCHED[sku.kind]),
    ]
    for name, usual in _NAMED.items():
        values = getattr(asked, name)
        if values is not None:
            unique = tuple(dict.fromkeys(values)) or usual
            if not any(isinstance(value, str) for value in unique):
                unique = tuple(sorted(unique))
            found.append(Dimension(name=name, values=unique, log=name in _BY_FACTORS))
    taken = {dimension.name for dimension in found}
    fields = set(ServingConfig.model_fields) - {"extra_flags"}
    for given, flag in asked.extra_flags.items():
        name = given.lstrip("-").lower().replace("-", "_")
        if name in fields or name in taken:
            raise SpecError(
                f"flow_params.space.extra_flags: {given!r} has a key of its own; name "
                f"flow_params.space.{name}"
                if name in SearchSpace.model_fields
                else f"flow_params.space.extra_flags: {given!r} is no dimension of a search: it "
                "follows from the job"
            )
        taken.add(name)
        found.append(
            Dimension(
                name=name,
                values=flag.resolved(),
                log=flag.log,
                extra=True,
                when=tuple(sorted(flag.when.items())),
            )
        )
    for place, dimension in enumerate(found):
        for other, value in dimension.when:
            if other not in {d.name for d in found[:place]} and any(d.name == other for d in found):
                raise SpecError(
                    f"flow_params.space.extra_flags.{dimension.name}: when names {other}, which "
                    "does not stand before it; name the flag that a condition asks for first"
                )
            held = next((d.values for d in found if d.name == other), None)
            if held is None or value not in held:
                raise SpecError(
                    f"flow_params.space.extra_flags.{dimension.name}: when asks {other} = "
                    f"{value!r}; "
                    + (f"it is searched over {list(held)}" if held else "it is not searched")
                )
    return tuple(found)


def _whole(name: str, values: tuple[int, ...]) -> Dimension:
    return Dimension(name=name, values=tuple(sorted(set(values))), log=True)
