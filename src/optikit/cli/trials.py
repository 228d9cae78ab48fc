"""optikit trials JOB: every trial with its configuration and figures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from optikit.cli._where import add_places, open_job

if TYPE_CHECKING:
    from optikit.spec.serving import ServingConfig

HELP = "print every trial of a job with its configuration and figures"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--json", action="store_true")
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Trials of one job."""
    from optikit.cli._print import as_json, rows_table, say
    from optikit.spec.simulated import marked

    job = open_job(args)
    plan = job.plan()
    trials, simulated, usual = job.trials(), plan.simulated, plan.serving
    if args.json:
        as_json([{**trial.model_dump(mode="json"), "simulated": simulated} for trial in trials])
        return 0
    rows = [
        {
            "trial": trial.id,
            "variant": trial.variant,
            "TP": trial.serving.tensor_parallel,
            "seqs": trial.serving.max_num_seqs,
            "batched": trial.serving.max_num_batched_tokens,
            "other": _other(trial.serving, usual),
            "outcome": "pruned"
            if trial.state == "pruned"
            else trial.rate.outcome
            if trial.rate
            else trial.cause or trial.state,
            "rate req/s": trial.rate_rps,
            "predicted": trial.predicted_rps,
            "fitness": trial.fitness,
            "requests": trial.rate.requests if trial.rate else None,
            "note": (trial.error or "").splitlines()[0] if trial.error else None,
        }
        for trial in trials
    ]
    columns = ["trial", "variant", "TP", "seqs", "batched", "other", "outcome", "rate req/s"]
    columns += ["predicted", "fitness", "requests", "note"]
    if plan.elsewhere:  # nobody here knows how the server was started
        columns = [name for name in columns if name not in ("TP", "seqs", "batched", "fitness")]
    shown = [name for name in columns if name != "other" or any(row["other"] for row in rows)]
    say(rows_table(marked("Trials", simulated), rows, tuple(shown)))
    return 0


def _other(serving: ServingConfig, usual: ServingConfig) -> str | None:
    """What else a trial's configuration changes, ``name=value``."""
    shown = ("tensor_parallel", "max_num_seqs", "max_num_batched_tokens")
    words = [
        f"{name}={mine}"
        for name, (mine, _) in serving.diff(usual).items()
        if name not in (*shown, "extra_flags")
    ]
    words += [
        f"{name}={value}"
        for name, value in serving.extra_flags
        if (name, value) not in usual.extra_flags
    ]
    return " ".join(words) or None
