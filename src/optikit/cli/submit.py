"""optikit submit JOB.yaml: run a job; follow it, or return at once with --detach."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "run a job and wait for its result (Ctrl-C cancels it)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("spec", type=Path, metavar="JOB.yaml")
    parser.add_argument("--detach", action="store_true", help="print the job's id and return")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--pool",
        help="where stages run: ray (default), process (no Ray), inline (in the driver; default of "
        "a simulated job)",
    )


def run(args: argparse.Namespace) -> int:
    """Submit one job spec."""
    from optikit.api import Submitter, load_job
    from optikit.cli._follow import follow
    from optikit.cli._print import as_json, bytes_text, duration, say
    from optikit.spec.simulated import marked

    spec = load_job(args.spec)
    submitter = Submitter(pool=args.pool)
    plan = submitter.plan(spec)
    job = submitter.start(spec)
    if args.detach:
        if args.json:
            facts = {"id": job.id, "archive": str(job.archive.root), "simulated": plan.simulated}
            as_json(facts)
        else:
            say(job.id)
        return 0
    if not args.json:
        text = (
            f"job {job.id}: {plan.flow.name} of {spec.model.name} on {spec.compute.sku}; first "
            f"estimate {duration(plan.estimate_s)}, {bytes_text(plan.disk_bytes)} of disk"
        )
        say(marked(text, plan.simulated))
    return follow(job, plan, as_json_only=args.json)
