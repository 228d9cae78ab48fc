"""optikit plan JOB.yaml: what would run, with every number; touches nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optikit.core.foresight import Foresight
    from optikit.spec.plan import Plan
    from optikit.spec.serving import Flag
    from optikit.spec.space import Dimension

HELP = "resolve a job spec and print what would run; starts nothing"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("spec", type=Path, metavar="JOB.yaml", help="a job spec, YAML or JSON")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--predict",
        action="store_true",
        help="also simulate every configuration: predicted best, rates and device-hours",
    )


def run(args: argparse.Namespace) -> int:
    """Plan one job spec."""
    from optikit.api import Submitter, load_job
    from optikit.cli._print import as_json
    from optikit.core.foresight import foresee

    plan = Submitter().plan(load_job(args.spec))
    ahead = foresee(plan) if args.predict else None
    if args.json:
        told = {"predicted": ahead.model_dump(mode="json")} if ahead else {}
        as_json({**facts(plan), **told})
    else:
        show(plan)
        if ahead:
            show_ahead(ahead)
    return 0


def facts(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; the stable keys come first."""
    job = plan.job
    return {
        "flow": plan.flow.name,
        "simulated": plan.simulated,
        "elsewhere": plan.elsewhere,
        "stages": list(plan.flow.stages),
        "model": job.model.model_dump(mode="json"),
        "sku": job.compute.sku.value,
        "recipe": plan.recipe.name if plan.recipe else None,
        "candidates": _candidates(plan),
        "left_out": dict(plan.left_out),
        "tensor_parallel": list(plan.tensor_parallel),
        "baseline_tensor_parallel": list(plan.baseline_tensor_parallel),
        "workload": job.workload.model_dump(mode="json"),
        "trace": plan.trace.facts if plan.trace else None,
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
    from optikit.core.steptimes import assumptions
    from optikit.spec.simulated import marked

    job, sku, space = plan.job, plan.sku, plan.space
    shape, work, method = plan.shape, plan.workload, job.method
    device = f"{sku.devices} x {sku.accelerator}" if sku.accelerator else f"{sku.cpus} CPU cores"
    memory = bytes_text(sku.memory_bytes)
    recipes = [f"{o.recipe.name}: {o.recipe.summary}" for o in plan.options if o.recipe]
    weights = [bytes_text(option.weight_bytes) for option in plan.options]
    asked = method.requests_per_probe
    size = f"{asked} requests a probe" if asked else "probes as large as they must be"
    rows: dict[str, Any] = {
        "flow": f"{plan.flow.name}: {' -> '.join(plan.flow.stages)}",
        "model": f"{job.model.name}:{job.model.version}, {shape.parameters / 1e9:.2f} B parameters",
        "shape": f"{shape.layers} layers, {shape.heads}/{shape.kv_heads} heads, context "
        f"{shape.max_context} (from {shape.source})",
        "SKU": f"{job.compute.sku} ({device}, {memory} a device; {sku.source})",
        "recipe": "\n".join(recipes) or "none: nothing is compressed",
        "candidates": ", ".join(one["id"] for one in _candidates(plan)) or "none",
        "weights": f"{bytes_text(plan.baseline_weight_bytes)} -> {' or '.join(weights)}",
        "calibration": _calibration(plan),
        "tensor parallel": f"{_list(plan.tensor_parallel)} fit; uncompressed: "
        f"{_list(plan.baseline_tensor_parallel)}",
        "workload": f"{work}, seed {work.seed}",
        "SLO": str(job.slo),
        "rate search": f"{method.name}: {size}, at most "
        f"{method.max_probes} probes, to {method.rate_tolerance:.0%}; slope <= "
        f"{1 + method.slope_tolerance:g}; {method.warmup_requests} warm-up requests; at most "
        f"{duration(method.max_search_s)}; client lag p99 <= {method.max_lag_ms:g} ms",
        "quality gate": "simulated: there is no model to score"
        if plan.simulated
        else f"keep {1 - job.quality.margin:.1%} on {', '.join(job.quality.tasks)} "
        f"({job.quality.limit or 'all'} items, baseline {job.quality.baseline_runs} x); divergence "
        f"on {job.quality.divergence_documents} held-out texts; cannot tell: "
        f"{job.quality.on_cannot_tell}; lost: fallback {job.fallback}",
        "engine": f"simulated: vLLM's scheduler in virtual time, {assumptions(plan.serving)}; "
        f"flags {dict(job.engine.flags) or 'none'}"
        if plan.simulated
        else f"{job.engine.name}, start within {duration(job.engine.start_timeout_s)}, port "
        f"{job.engine.port or 'free'}, flags {dict(job.engine.flags) or 'none'}",
        "default config": f"TP {plan.serving.tensor_parallel}, max_num_seqs "
        f"{plan.serving.max_num_seqs}, max_num_batched_tokens "
        f"{plan.serving.max_num_batched_tokens}, max_model_len {plan.serving.max_model_len}, "
        f"{plan.serving.dtype}",
        "tuning": f"{job.tuner.name} (seed {job.tuner.seed}, lambda "
        f"{job.tuner.slo_penalty_weight:g}, objective {job.tuner.objective}): {plan.trials} trials "
        f"of {space.size} configurations: "
        + "; ".join(f"{d.name} {_list(d.values)}{_when(d)}" for d in space.dimensions),
        "never started": "; ".join(f"{n} x {why}" for why, n in space.left_out.items()) or "none",
        "at the end": f"the best {job.tuner.finalists} and the default measured again, "
        f"{job.tuner.finalist_runs} x each, interleaved"
        if job.tuner.finalists
        else "every trial certifies its own rate",
        "four corners": "yes" if job.flow_params.ablation else "no (flow_params.ablation)",
        "budget": f"{duration(job.budget.wall_time_s)}, {plan.gpu_hours_bound:g} device-hours",
        "first estimate": f"{duration(plan.estimate_s)} (order of size), "
        f"{bytes_text(plan.disk_bytes)} of disk",
    }
    if plan.elsewhere:
        rows = {**_endpoint(plan), **{key: rows[key] for key in _OF_AN_ENDPOINT}}
    say(facts_table(marked("Plan", plan.simulated), rows))
    for warning in plan.warnings:
        say(f"warning: {warning}")


_OF_AN_ENDPOINT = ("flow", "workload", "SLO", "rate search", "first estimate")


def _endpoint(plan: Plan) -> dict[str, str]:
    """What is known of a server that somebody else runs, before it is asked."""
    from optikit.core.elsewhere import sends_to

    target, key = sends_to(plan.job), plan.job.engine.key
    where = "none" if key is None else f"variable {key.env}" if key.env else f"file {key.file}"
    prompts = f"token ids below {plan.shape.vocab}" if target.prompts == "tokens" else "text"
    return {
        "endpoint": f"{target.base_url}, somebody else's: nothing is started, no device is held",
        "model": target.model,
        "key": where,
        "requests": f"{target.api}, prompts as {prompts}, answers "
        + ("of the asked length" if target.enforce_length else "as long as asked, or shorter"),
        "seats": str(plan.job.engine.max_num_seqs or "not known"),
    }


def show_ahead(ahead: Foresight) -> None:
    """What a simulation expects, labelled as such."""
    from optikit.cli._print import rows_table, say

    for one in ahead.variants:
        rows = [
            {
                "configuration": " ".join(f"{k}={v}" for k, v in row.point.items()),
                "rate req/s": row.rate_rps,
                "per device": row.rate_per_device,
                "TTFT ms": row.ttft_ms,
                "TPOT ms": row.tpot_ms,
                "trial s": row.trial_s,
            }
            for row in one.best
        ]
        title = f"PREDICTED, not measured: the best of {one.looked_at} ({one.variant})"
        columns = ("configuration", "rate req/s", "per device", "TTFT ms", "TPOT ms", "trial s")
        say(rows_table(title, rows, columns))
        say(
            f"  the default: {one.default_per_device:.4g} req/s a device; PREDICTED gain "
            + (f"{one.gain:.2f}x" if one.gain else "unknown: the default holds no rate")
        )
    say(
        f"  PREDICTED for {ahead.trials} trials: {ahead.device_hours:.3g} device-hours "
        f"({ahead.source})"
    )


def _candidates(plan: Plan) -> list[dict[str, Any]]:
    from optikit.core.candidates import planned_candidates

    if not plan.flow.compresses:
        return []
    return [
        {
            "id": one.id,
            "recipe": one.recipe,
            "seed": one.seed,
            "calibration_samples": one.option.calibration_samples,
        }
        for one in planned_candidates(plan)
    ]


def _calibration(plan: Plan) -> str:
    job, params = plan.job, plan.job.flow_params
    counts = sorted({o.calibration_samples for o in plan.options if o.calibration_samples})
    if not counts or job.dataset is None:
        return "none"
    return (
        f"{' or '.join(map(str, counts))} samples of at most {params.calibration_tokens} tokens "
        f"from {job.dataset.path}, drawn {params.sampling} (seed {params.calibration_seed})"
    )


def _when(dimension: Dimension) -> str:
    where = " and ".join(f"{name} = {value}" for name, value in dimension.when)
    return f" (where {where})" if where else ""


def _list(values: tuple[Flag, ...]) -> str:
    return ", ".join(map(str, values)) or "none"
