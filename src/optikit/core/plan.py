"""Job + what the caller looked up -> Plan: every name and number resolved, nothing touched."""

from __future__ import annotations

from typing import Literal

from optikit.core.fit import element_bytes, fit, weight_bytes
from optikit.core.rate import METHODS, rate_search
from optikit.core.space import context_length, fitting_degrees, resolve_space
from optikit.errors import DoesNotFit, SpecError, UnknownName, nearest
from optikit.spec.flow import Flow
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.recipe import EngineFacts, RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts

__all__ = ["CpuDtype", "make_plan"]

CpuDtype = Literal["float32", "bfloat16"]

RECORDS_BYTES = 200_000_000
"""Allowance for logs, raw timings and the tracker's database of one job."""
_START_S = {"cpu": 15.0, "gpu": 120.0}
_EVALUATE_S = 90.0
_PROBES = 8
_EFFICIENCY = 0.4
"""Share of the peak FLOP/s that a first estimate counts on."""
_DECODE_BATCH = 32


def make_plan(
    job: OptimizationJob,
    flow: Flow,
    shape: ModelShape,
    engine: EngineFacts,
    recipe: RecipeFacts | None,
    cpu_dtype: CpuDtype = "float32",
) -> Plan:
    """Resolve a job.

    Args:
        recipe: facts of ``job.flow_params.recipe``; None where the flow does not compress.
        cpu_dtype: what a CPU SKU serves in on this machine.

    Raises:
        DoesNotFit: the model, a degree or the workload cannot stand on the SKU.
        SpecError: keys that contradict each other, or a recipe that the engine cannot serve.
    """
    sku = job.compute.sku.facts
    _consistent(job, flow, engine, recipe, sku)
    default = _default_serving(job, shape, sku, cpu_dtype)
    degrees = fitting_degrees(job, shape, recipe, sku, default)
    own_degrees = fitting_degrees(job, shape, None, sku, default)
    ships = degrees if flow.compresses else own_degrees
    warnings: list[str] = []
    if not ships:
        raise DoesNotFit(_why_not(job, shape, recipe, sku, default))
    needs_baseline = "evaluate" in flow.stages or job.flow_params.ablation
    if needs_baseline and not own_degrees:
        raise DoesNotFit(
            f"the uncompressed {job.model.name} does not fit {job.compute.sku}, so there is no "
            "baseline to compare with. Choose a SKU with more memory, or a flow without evaluate."
        )
    space = resolve_space(job.flow_params.space, ships, sku)
    baseline_space = resolve_space(job.flow_params.space, own_degrees, sku) if own_degrees else None
    tunes = "tune" in flow.stages
    trials = min(job.flow_params.num_trials, space.size) if tunes else 0
    if tunes and trials < job.flow_params.num_trials:
        warnings.append(
            f"num_trials {job.flow_params.num_trials} is more than the space holds: {space.size}"
        )
    if job.dataset is None and recipe is not None and recipe.needs_calibration:
        raise SpecError(
            f"dataset: recipe {recipe.name} needs calibration text; "
            "name a folder of JSONL, parquet or text, or choose a recipe that needs none"
        )
    samples = 0
    if recipe is not None and recipe.needs_calibration:
        samples = job.flow_params.calibration_samples or recipe.default_samples
    fetched = weight_bytes(shape, None)
    compressed = weight_bytes(shape, recipe) if flow.compresses else fetched
    shipped = compressed if "publish" in flow.stages else 0
    return Plan(
        job=job,
        flow=flow,
        shape=shape,
        sku=sku,
        recipe=recipe,
        calibration_samples=samples,
        tensor_parallel=ships,
        baseline_tensor_parallel=own_degrees,
        serving=default.model_copy(update={"tensor_parallel": ships[0]}),
        baseline_serving=(
            default.model_copy(update={"tensor_parallel": own_degrees[0]}) if own_degrees else None
        ),
        space=space,
        baseline_space=baseline_space,
        trials=trials,
        weight_bytes=compressed,
        baseline_weight_bytes=fetched,
        disk_bytes=fetched + (compressed if flow.compresses else 0) + shipped + RECORDS_BYTES,
        estimate_s=_estimate_s(
            job, flow, shape, sku, recipe, trials, samples, element_bytes(default.dtype)
        ),
        gpu_hours_bound=(job.budget.gpu_hours or sku.devices * job.budget.wall_time_s / 3600.0),
        warnings=tuple(warnings),
    )


def _consistent(
    job: OptimizationJob,
    flow: Flow,
    engine: EngineFacts,
    recipe: RecipeFacts | None,
    sku: SkuFacts,
) -> None:
    if job.method.name not in METHODS:
        raise UnknownName(
            f"unknown method {job.method.name!r}; {nearest(job.method.name, METHODS)}"
        )
    if flow.measures:
        rate_search(job.method, job.workload, job.slo)  # refuses an SLO that cannot be measured
    served = engine.serves.get(sku.kind, ())
    if not served:
        raise SpecError(f"engine: {engine.name} does not serve on {sku.kind} SKUs")
    if recipe is None:
        return
    if recipe.scheme == "none" and flow.compresses:
        raise SpecError(
            f"flow_params.recipe: 'none' leaves nothing to compress in flow {flow.name}; "
            "choose flow 'tune' or 'benchmark', or another recipe"
        )
    if recipe.scheme not in served:
        raise SpecError(
            f"flow_params.recipe: {recipe.name} writes {recipe.scheme}, for which engine "
            f"{engine.name} has no kernel on {sku.kind}; it serves {', '.join(served)}"
        )
    accelerated = recipe.compute_dtype
    if sku.kind == "gpu" and accelerated != "own" and accelerated not in sku.flops_per_s:
        raise SpecError(
            f"flow_params.recipe: {recipe.name} computes in {accelerated}, which "
            f"{sku.accelerator} does not have; choose an int8 recipe"
        )


def _default_serving(
    job: OptimizationJob, shape: ModelShape, sku: SkuFacts, cpu_dtype: CpuDtype
) -> ServingConfig:
    """The engine's own defaults on that kind of device (vLLM's OpenAI server)."""
    cpu = sku.kind == "cpu"
    return ServingConfig(
        tensor_parallel=1,
        max_num_seqs=128 if cpu else 256,
        max_num_batched_tokens=2048 if cpu else 8192,
        max_model_len=context_length(job, shape),
        dtype=cpu_dtype if cpu else "auto",
        # torch.compile takes minutes on the CPU backend
        enforce_eager=cpu,
        extra_flags=tuple(sorted(job.engine.flags.items())),
    )


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


def _estimate_s(
    job: OptimizationJob,
    flow: Flow,
    shape: ModelShape,
    sku: SkuFacts,
    recipe: RecipeFacts | None,
    trials: int,
    samples: int,
    own: int,
) -> float:
    """Order of size of the wall time: compute and weight traffic at a fixed efficiency."""
    dtype = "fp32" if sku.kind == "cpu" else "bf16"
    flops = sku.flops_per_s[dtype] * _EFFICIENCY * sku.devices
    work = job.workload
    step = weight_bytes(shape, recipe, own) / (sku.bandwidth_bytes_per_s * sku.devices)
    request_s = (
        2.0 * shape.parameters * work.total_tokens / flops
        + work.output_tokens * step / _DECODE_BATCH
    )
    start = _START_S[sku.kind]
    search = start + _PROBES * job.method.requests_per_probe * request_s
    variants = 2 if flow.compresses and job.flow_params.ablation else 1
    total = 2 * start
    if flow.compresses:
        total += start + 4.0 * samples * job.flow_params.calibration_tokens * (
            shape.parameters / flops
        )
    if "evaluate" in flow.stages:
        total += 2 * (start + _EVALUATE_S)
    if "benchmark" in flow.stages:
        total += variants * search
    if "tune" in flow.stages:
        total += variants * trials * search
    return total
