"""optikit trials JOB: every trial with its configuration and figures."""

from __future__ import annotations

import argparse

HELP = "print every trial of a job with its configuration and figures"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Trials of one job."""
    from optikit.api import Job
    from optikit.cli._print import as_json, rows_table, say

    trials = Job.open(args.job).trials()
    if args.json:
        as_json([trial.model_dump(mode="json") for trial in trials])
        return 0
    rows = [
        {
            "trial": trial.id,
            "variant": trial.variant,
            "TP": trial.serving.tensor_parallel,
            "seqs": trial.serving.max_num_seqs,
            "batched": trial.serving.max_num_batched_tokens,
            "outcome": trial.rate.outcome if trial.rate else trial.state,
            "rate req/s": trial.rate_rps,
            "fitness": trial.fitness,
            "requests": trial.rate.requests if trial.rate else None,
            "note": (trial.error or "").splitlines()[0] if trial.error else None,
        }
        for trial in trials
    ]
    columns = ("trial", "variant", "TP", "seqs", "batched", "outcome", "rate req/s", "fitness")
    say(rows_table("Trials", rows, (*columns, "requests", "note")))
    return 0
