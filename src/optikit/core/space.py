"""The search space: what the SKU, the shape and the workload leave of the tunables."""

from __future__ import annotations

import math

from optikit.core.fit import fit, splits
from optikit.errors import DoesNotFit, SpecError
from optikit.spec.job import OptimizationJob, SearchSpace
from optikit.spec.model import ModelShape
from optikit.spec.plan import ResolvedSpace
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts

__all__ = ["apply_point", "context_length", "fitting_degrees", "point_of", "resolve_space"]

HEADROOM = 1.15
"""max_model_len over the workload's tokens, as in the talk's paper (arXiv 2601.20408)."""
_SEQS = {"gpu": (32, 64, 128, 256, 512), "cpu": (4, 16, 64, 128)}
_BATCHED = {"gpu": (2048, 4096, 8192, 16384), "cpu": (256, 1024, 2048, 4096)}


def context_length(job: OptimizationJob, shape: ModelShape) -> int:
    """max_model_len in tokens: 1.15 x (prompt + output), a multiple of 16, within the model.

    Raises:
        DoesNotFit: the workload is longer than the model's context.
    """
    need = job.workload.total_tokens
    if need > shape.max_context:
        raise DoesNotFit(
            f"workload: asked {job.workload.prompt_tokens} prompt + {job.workload.output_tokens} "
            f"output = {need} tokens; {job.model.name} has a context of {shape.max_context}. "
            "Shorten the workload or choose a model with a longer context."
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


def resolve_space(asked: SearchSpace, degrees: tuple[int, ...], sku: SkuFacts) -> ResolvedSpace:
    """The finite grid of values.

    Raises:
        SpecError: a batch of ``max_num_seqs`` requests would not fit the step's token budget.
    """
    seqs = asked.max_num_seqs or _SEQS[sku.kind]
    batched = asked.max_num_batched_tokens or _BATCHED[sku.kind]
    if max(seqs) > min(batched):
        raise SpecError(
            f"flow_params.space: max_num_seqs up to {max(seqs)} with max_num_batched_tokens down "
            f"to {min(batched)}; the engine needs at least one token a sequence in a step. "
            "Drop the smaller max_num_batched_tokens or the larger max_num_seqs."
        )
    return ResolvedSpace(
        tensor_parallel=degrees,
        max_num_seqs=tuple(sorted(set(seqs))),
        max_num_batched_tokens=tuple(sorted(set(batched))),
    )


def point_of(serving: ServingConfig) -> dict[str, int]:
    """The searched dimensions of a serving config."""
    return {name: getattr(serving, name) for name in ResolvedSpace.model_fields}


def apply_point(serving: ServingConfig, point: dict[str, int]) -> ServingConfig:
    """The serving config with the searched dimensions replaced."""
    return ServingConfig.model_validate({**serving.model_dump(), **point})
