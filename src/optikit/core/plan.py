"""Job + what the caller looked up -> Plan: every name and number resolved, nothing touched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from optikit.core.candidates import candidates_at_once, candidates_of
from optikit.core.dimensions import context_length, fitting_degrees, resolve_space
from optikit.core.elsewhere import must_be_started, plan_elsewhere
from optikit.core.fit import element_bytes, weight_bytes
from optikit.core.options import resolve_options
from optikit.core.rate import METHODS, rate_search
from optikit.core.trace import trace_warnings
from optikit.errors import DoesNotFit, SpecError, UnknownName, nearest
from optikit.spec.flow import Flow
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Option, Plan
from optikit.spec.recipe import EngineFacts, RecipeFacts
from optikit.spec.serving import Flag, ServingConfig
from optikit.spec.sku import SkuFacts
from optikit.spec.workload import Trace

__all__ = ["CpuDtype", "make_plan"]

CpuDtype = Literal["float32", "bfloat16"]

RECORDS_BYTES = 200_000_000
"""Allowance for logs, raw timings and the tracker's database of one job."""
TYPICAL_PROBE = 500
"""Requests of a probe whose size the method chooses; an order of size."""
_FIELDS_BY_FLAG = {
    "data_parallel_size": "data_parallel",
    **{
        name: name
        for name in (
            *("enable_prefix_caching", "kv_cache_dtype", "block_size", "scheduling_policy"),
            *("enforce_eager", "gpu_memory_utilization"),
        )
    },
}
"""Engine flags that a job may fix for all its servers, and their fields of the serving config."""
_START_S = {"cpu": 15.0, "gpu": 120.0}
_EVALUATE_S = 90.0
_ON_PAPER_S = 0.3
"""Real time of one simulated rate search."""
_SCRATCH = 1.5
"""Weights on disk while a compression is bound in memory, over the model's own size."""
_PROBES = 8
_EFFICIENCY = 0.4
"""Share of the peak FLOP/s that a first estimate counts on."""
_DECODE_BATCH = 32


def make_plan(
    job: OptimizationJob,
    flow: Flow,
    shape: ModelShape,
    engine: EngineFacts,
    recipes: Sequence[RecipeFacts] = (),
    cpu_dtype: CpuDtype = "float32",
    trace: Trace | None = None,
    engine_version: str | None = None,
) -> Plan:
    """Resolve a job.

    Args:
        recipes: facts of each of ``job.flow_params.recipe``; none where the flow does not compress.
        cpu_dtype: what a CPU SKU serves in on this machine.
        trace: what the file ``job.workload.trace`` holds; None where the job names none.
        engine_version: None: not known; then no recipe is refused for it.

    Raises:
        DoesNotFit: the model, a degree or the workload cannot stand on the SKU.
        SpecError: keys that contradict each other, or recipes of which none can be served.
    """
    sku = job.compute.sku.facts
    if job.compute.cpus_per_device is not None:
        sku = sku.model_copy(
            update={"cpus": max(1, math.ceil(job.compute.cpus_per_device * sku.devices))}
        )
    _consistent(job, flow, engine, sku, trace)
    if engine.elsewhere:
        return plan_elsewhere(job, flow, shape, sku, trace)
    default = _default_serving(job, shape, engine, sku, cpu_dtype, trace)
    own_degrees = fitting_degrees(job, shape, None, sku, default)
    baseline = (
        default.model_copy(update={"tensor_parallel": own_degrees[0]}) if own_degrees else None
    )
    asked = job.method.requests_per_probe or TYPICAL_PROBE
    warnings = trace_warnings(trace, asked) if trace else []
    options = resolve_options(job, flow, shape, engine, recipes, default, engine_version)
    warnings += options.warnings
    needs_baseline = "evaluate" in flow.stages or job.flow_params.ablation
    if needs_baseline and not own_degrees:
        raise DoesNotFit(
            f"the uncompressed {job.model.name} does not fit {job.compute.sku}, so there is no "
            "baseline to compare with. Choose a SKU with more memory, or a flow without evaluate."
        )
    first = options.tried[0]
    if "tune" in flow.stages and first.trials < job.flow_params.num_trials:
        warnings.append(
            f"num_trials {job.flow_params.num_trials} is more than the space holds: "
            f"{first.space.size}"
        )
    if job.model.trust_remote_code:
        warnings.append(
            "model.trust_remote_code: Python code of the model's folder runs in workers and "
            "servers with the job's rights; read it before you submit"
        )
    if engine.simulated and job.dataset is not None:
        warnings.append(f"dataset: {job.dataset.path} is not read: nothing is compressed")
    seconds = (
        {}
        if engine.simulated
        else _estimates_s(job, flow, shape, sku, options.tried, element_bytes(default.dtype), trace)
    )
    return Plan(
        **{name: getattr(first, name) for name in Option.model_fields},
        job=job,
        flow=flow,
        shape=shape,
        sku=sku,
        options=tuple(options.tried),
        left_out=options.left_out,
        baseline_tensor_parallel=own_degrees,
        baseline_serving=baseline,
        baseline_space=(
            resolve_space(job, shape, None, sku, baseline, own_degrees) if baseline else None
        ),
        baseline_weight_bytes=weight_bytes(shape, None),
        disk_bytes=_disk_bytes(job, flow, shape, engine, sku, options.tried),
        estimate_s=sum(seconds.values()) if seconds else _ON_PAPER_S * (1 + first.trials),
        stage_estimates_s=seconds,
        gpu_hours_bound=(job.budget.gpu_hours or sku.devices * job.budget.wall_time_s / 3600.0),
        warnings=tuple(warnings),
        simulated=engine.simulated,
        trace=trace,
    )


def _consistent(
    job: OptimizationJob, flow: Flow, engine: EngineFacts, sku: SkuFacts, trace: Trace | None
) -> None:
    if job.engine.hold_devices and not engine.simulated:
        raise SpecError(
            f"engine.hold_devices: the engine {engine.name} holds devices anyway; the key is for "
            "the simulated one. Leave it out"
        )
    asked = job.workload
    if (asked.trace is None) != (trace is None):
        raise SpecError(
            f"workload.trace: the job names {asked.trace!r} but the plan was given "
            f"{trace.source if trace else 'no trace'}; give both or neither"
        )
    work = asked.with_lengths_of(trace) if trace else asked
    if job.method.name not in METHODS:
        raise UnknownName(
            f"unknown method {job.method.name!r}; {nearest(job.method.name, METHODS)}"
        )
    if flow.measures:
        rate_search(job.method, work, job.slo)  # refuses an SLO that cannot be measured
    if job.tuner.objective == "per_cost" and job.compute.sku not in job.compute.prices:
        raise SpecError(
            f"tuner.objective: per_cost needs compute.prices with {job.compute.sku}, found "
            f"{', '.join(job.compute.prices) or 'none'}; give the price of one device-hour"
        )
    if job.tuner.objective == "per_energy":
        raise SpecError(
            f"tuner.objective: per_energy needs an engine that reports energy, and {engine.name} "
            "reports none; choose per_gpu or per_cost"
        )
    if not engine.serves.get(sku.kind, ()):
        raise SpecError(
            f"engine: {engine.name} does not serve on {sku.kind} SKUs; choose a SKU of "
            f"{' or '.join(engine.serves)}, or another engine"
            if not engine.elsewhere
            else f"compute.sku: {job.compute.sku} holds a GPU, and to measure a server that "
            "somebody else runs takes none: it is where the requests are sent from. Choose CPU_2"
        )
    if not engine.elsewhere:
        must_be_started(job.engine)
    if (
        "evaluate" in flow.stages
        and job.quality.divergence_documents
        and not (engine.prompt_logprobs or engine.simulated or engine.elsewhere)
    ):
        raise SpecError(
            f"quality.divergence_documents: {engine.name} does not tell the log-probabilities of a "
            "prompt's tokens by their ids; set it to 0, or evaluate with engine: vllm"
        )


def _disk_bytes(
    job: OptimizationJob,
    flow: Flow,
    shape: ModelShape,
    engine: EngineFacts,
    sku: SkuFacts,
    options: Sequence[Option],
) -> int:
    """Fetched model, every candidate, the largest one's copy in a bundle, records."""
    if engine.simulated:
        return RECORDS_BYTES
    fetched = weight_bytes(shape, None)
    made = sum(o.weight_bytes * candidates_of(job, o) for o in options if o.recipe is not None)
    if job.flow_params.compression_memory_gib is not None:
        made += int(_SCRATCH * fetched) * candidates_at_once(sku, fetched)
    ships = max(o.weight_bytes for o in options) if "publish" in flow.stages else 0
    return RECORDS_BYTES + fetched + made + ships


def _default_serving(
    job: OptimizationJob,
    shape: ModelShape,
    engine: EngineFacts,
    sku: SkuFacts,
    cpu_dtype: CpuDtype,
    trace: Trace | None,
) -> ServingConfig:
    """The engine's own defaults on that kind of device (vLLM's OpenAI server)."""
    cpu = sku.kind == "cpu"
    own, extra = _split(job.engine.flags)
    given: dict[str, object] = {
        "max_num_seqs": 128 if cpu else 256,
        "max_num_batched_tokens": 2048 if cpu else 8192,
        "max_model_len": context_length(job, shape, trace),
        "dtype": cpu_dtype if cpu else "auto",
        # torch.compile takes minutes on the CPU backend
        "enforce_eager": cpu,
        "gpu_memory_utilization": engine.memory_share,
        "trust_remote_code": job.model.trust_remote_code,
        **own,
        "extra_flags": tuple(sorted(extra.items())),
    }
    return ServingConfig.parse(given, "engine.flags")


def _split(flags: Mapping[str, Flag]) -> tuple[dict[str, Flag], dict[str, Flag]]:
    """The job's engine flags that the serving config has a field for, and the others."""
    own: dict[str, Flag] = {}
    extra: dict[str, Flag] = {}
    for given, value in flags.items():
        name = given.lstrip("-").lower().replace("-", "_")
        bare = name.removeprefix("no_")
        field = _FIELDS_BY_FLAG.get(bare)
        if field is None:
            extra[given] = value
        else:
            own[field] = not value if name != bare and isinstance(value, bool) else value
    return own, extra


def _estimates_s(
    job: OptimizationJob,
    flow: Flow,
    shape: ModelShape,
    sku: SkuFacts,
    options: Sequence[Option],
    own: int,
    trace: Trace | None,
) -> dict[str, float]:
    """Order of size of each stage's wall time: compute and weight traffic at a fixed efficiency."""
    first = options[0]
    trials = first.trials
    dtype = "fp32" if sku.kind == "cpu" else "bf16"
    flops = sku.flops_per_s[dtype] * _EFFICIENCY * sku.devices
    work = job.workload.with_lengths_of(trace) if trace else job.workload
    prompt, output = work.prompt_tokens.mean, work.output_tokens.mean
    step = weight_bytes(shape, first.recipe, own) / (sku.bandwidth_bytes_per_s * sku.devices)
    request_s = 2.0 * shape.parameters * (prompt + output) / flops + output * step / _DECODE_BATCH
    start = _START_S[sku.kind]
    search = start + _PROBES * (job.method.requests_per_probe or TYPICAL_PROBE) * request_s
    variants = 2 if flow.compresses and job.flow_params.ablation else 1
    seconds = {"fetch": start, "publish": start}
    made = 0
    for option in options if flow.compresses else ():
        one = start + 4.0 * option.calibration_samples * job.flow_params.calibration_tokens * (
            shape.parameters / flops
        )
        made += candidates_of(job, option)
        seconds["compress"] = seconds.get("compress", 0.0) + one * candidates_of(job, option)
    if "evaluate" in flow.stages:
        seconds["evaluate"] = (job.quality.baseline_runs + made) * (start + _EVALUATE_S)
    if "benchmark" in flow.stages:
        seconds["benchmark"] = variants * search
    if "tune" in flow.stages:
        tuner = job.tuner
        again = (1 + tuner.finalists) * tuner.finalist_runs if tuner.finalists else 0
        seconds["tune"] = variants * (trials + again) * search
    return seconds
