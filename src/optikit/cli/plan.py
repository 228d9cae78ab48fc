"""optikit plan JOB.yaml: what would run, with every number; touches nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optikit.spec.plan import Plan

HELP = "resolve a job spec and print what would run; starts nothing"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("spec", type=Path, metavar="JOB.yaml")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(args: argparse.Namespace) -> int:
    """Plan one job spec."""
    from optikit.api import Submitter, load_job
    from optikit.cli._print import as_json

    plan = Submitter().plan(load_job(args.spec))
    if args.json:
        as_json(facts(plan))
    else:
        show(plan)
    return 0


def facts(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; the stable keys come first."""
    job = plan.job
    return {
        "flow": plan.flow.name,
        "stages": list(plan.flow.stages),
        "model": job.model.model_dump(mode="json"),
        "sku": job.compute.sku.value,
        "recipe": plan.recipe.name if plan.recipe else None,
        "tensor_parallel": list(plan.tensor_parallel),
        "baseline_tensor_parallel": list(plan.baseline_tensor_parallel),
        "workload": job.workload.model_dump(mode="json"),
        "slo": [str(bound) for bound in job.slo.bounds],
        "trials": plan.trials,
        "disk_bytes": plan.disk_bytes,
        "estimate_s": round(plan.estimate_s),
        "gpu_hours_bound": plan.gpu_hours_bound,
        "calibration_samples": plan.calibration_samples,
        "weight_bytes": plan.weight_bytes,
        "baseline_weight_bytes": plan.baseline_weight_bytes,
        "serving": plan.serving.model_dump(mode="json"),
        "baseline_serving": (
            plan.baseline_serving.model_dump(mode="json") if plan.baseline_serving else None
        ),
        "space": plan.space.model_dump(mode="json"),
        "shape": plan.shape.model_dump(mode="json"),
        "sku_facts": plan.sku.model_dump(mode="json"),
        "dataset": job.dataset.model_dump(mode="json") if job.dataset else None,
        "engine": job.engine.model_dump(mode="json"),
        "tuner": job.tuner.model_dump(mode="json"),
        "method": job.method.model_dump(mode="json"),
        "quality": job.quality.model_dump(mode="json"),
        "fallback": job.fallback,
        "budget": job.budget.model_dump(mode="json"),
        "ablation": job.flow_params.ablation,
        "warnings": list(plan.warnings),
    }


def show(plan: Plan) -> None:
    """The plan as tables."""
    from optikit.cli._print import bytes_text, duration, facts_table, say

    job, sku, space = plan.job, plan.sku, plan.space
    shape, work, method = plan.shape, job.workload, job.method
    device = f"{sku.devices} x {sku.accelerator}" if sku.accelerator else f"{sku.cpus} CPU cores"
    memory = bytes_text(sku.memory_bytes)
    recipe = plan.recipe
    rows: dict[str, Any] = {
        "flow": f"{plan.flow.name}: {' -> '.join(plan.flow.stages)}",
        "model": f"{job.model.name}:{job.model.version}, {shape.parameters / 1e9:.2f} B parameters",
        "shape": f"{shape.layers} layers, {shape.heads}/{shape.kv_heads} heads, context "
        f"{shape.max_context} (from {shape.source})",
        "SKU": f"{job.compute.sku} ({device}, {memory} a device; {sku.source})",
        "recipe": f"{recipe.name}: {recipe.summary}" if recipe else "none: nothing is compressed",
        "weights": f"{bytes_text(plan.baseline_weight_bytes)} -> {bytes_text(plan.weight_bytes)}",
        "calibration": f"{plan.calibration_samples} samples of at most "
        f"{job.flow_params.calibration_tokens} tokens from "
        f"{job.dataset.path if job.dataset else '-'} (seed {job.flow_params.calibration_seed})",
        "tensor parallel": f"{_list(plan.tensor_parallel)} fit; uncompressed: "
        f"{_list(plan.baseline_tensor_parallel)}",
        "workload": f"{work.prompt_tokens} prompt ({work.prefix_tokens} shared) + "
        f"{work.output_tokens} output tokens, {work.arrivals} arrivals, seed {work.seed}",
        "SLO": str(job.slo),
        "rate search": f"{method.name}: {method.requests_per_probe} requests a probe, at most "
        f"{method.max_probes} probes, to {method.rate_tolerance:.0%}; slope <= "
        f"{1 + method.slope_tolerance:g}; {method.warmup_requests} warm-up requests; at most "
        f"{duration(method.max_search_s)}; client lag p99 <= {method.max_lag_ms:g} ms",
        "quality gate": f"keep {1 - job.quality.margin:.1%} on {', '.join(job.quality.tasks)} "
        f"({job.quality.limit or 'all'} items); cannot tell: {job.quality.on_cannot_tell}; "
        f"lost: fallback {job.fallback}",
        "engine": f"{job.engine.name}, start within {duration(job.engine.start_timeout_s)}, port "
        f"{job.engine.port or 'free'}, flags {dict(job.engine.flags) or 'none'}",
        "default config": f"TP {plan.serving.tensor_parallel}, max_num_seqs "
        f"{plan.serving.max_num_seqs}, max_num_batched_tokens "
        f"{plan.serving.max_num_batched_tokens}, max_model_len {plan.serving.max_model_len}, "
        f"{plan.serving.dtype}",
        "tuning": f"{job.tuner.name} (seed {job.tuner.seed}, lambda "
        f"{job.tuner.slo_penalty_weight:g}): {plan.trials} trials of {space.size} configurations: "
        f"TP {_list(space.tensor_parallel)}; max_num_seqs {_list(space.max_num_seqs)}; "
        f"max_num_batched_tokens {_list(space.max_num_batched_tokens)}",
        "four corners": "yes" if job.flow_params.ablation else "no (flow_params.ablation)",
        "budget": f"{duration(job.budget.wall_time_s)}, {plan.gpu_hours_bound:g} device-hours",
        "first estimate": f"{duration(plan.estimate_s)} (order of size), "
        f"{bytes_text(plan.disk_bytes)} of disk",
    }
    say(facts_table("Plan", rows))
    for warning in plan.warnings:
        say(f"warning: {warning}")


def _list(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values)) or "none"
