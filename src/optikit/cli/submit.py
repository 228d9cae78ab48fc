"""optikit submit JOB.yaml: run a job; follow it, or return at once with --detach."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from optikit.cli._server import add_server, chosen_server

if TYPE_CHECKING:
    from optikit.service.client import Server

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
    parser.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="N",
        help="with --server: within the team's jobs, -10 to 10",
    )
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """Submit one job spec."""
    from optikit.api import Submitter, load_job
    from optikit.cli._follow import follow
    from optikit.cli._print import as_json, bytes_text, duration, say
    from optikit.spec.simulated import marked

    server = chosen_server(args)
    if server is not None:
        return _run_there(args, server)
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


def _run_there(args: argparse.Namespace, server: Server) -> int:
    """Submit one job spec to a service."""
    import secrets

    from optikit.cli._follow import follow
    from optikit.cli._print import as_json, duration, say
    from optikit.errors import BadInput
    from optikit.spec.simulated import marked
    from optikit.specfile import read_mapping

    if args.pool is not None:
        raise BadInput("--pool: where stages run is the service's to say; leave out --server or it")
    job = server.submit(read_mapping(args.spec, "job spec"), args.priority, secrets.token_hex(16))
    plan = job.plan()
    if args.detach:
        facts = {"id": job.id, "server": server.url, "simulated": plan.simulated}
        if args.json:
            as_json(facts)
        else:
            say(job.id)
        return 0
    if not args.json:
        text = (
            f"job {job.id} at {server.url}: {plan.flow.name} of {plan.job.model.name} on "
            f"{plan.job.compute.sku}; first estimate {duration(plan.estimate_s)} once it has begun"
        )
        say(marked(text, plan.simulated))
    return follow(job, plan, as_json_only=args.json)
