"""optikit submit JOB.yaml: run a job; follow it, or return at once with --detach."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from optikit.cli._server import chosen_server
from optikit.cli._where import add_places, address_of
from optikit.errors import BadInput

if TYPE_CHECKING:
    from optikit.api import Job, RemoteJob
    from optikit.service.client import ServedJob, Server

HELP = "run a job and wait for its result (Ctrl-C cancels it)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("spec", type=Path, metavar="JOB.yaml", help="a job spec, YAML or JSON")
    parser.add_argument("--detach", action="store_true", help="print the job's id and return")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--pool",
        help="where stages run: ray (default), process (no Ray), inline (in the driver; default of "
        "a simulated job)",
    )
    parser.add_argument(
        "--id",
        help="the job's id (default: a new one); at a cluster, the same id and spec again is the "
        "same job",
    )
    parser.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="N",
        help="at a service: within the team's jobs, -10 to 10",
    )
    add_places(parser)
    parser.add_argument(
        "--home",
        metavar="DIR",
        help="at a cluster: its folder for jobs and models (default: its $OPTIKIT_HOME, else "
        "~/.optikit)",
    )
    parser.add_argument(
        "--python",
        default="python",
        metavar="PATH",
        help="at a cluster: its interpreter that has Ray and OptiKIT's dependencies (default: "
        "python)",
    )


def run(args: argparse.Namespace) -> int:
    """Submit one job spec."""
    from optikit.api import Submitter, load_job
    from optikit.cli._follow import follow
    from optikit.cli._print import as_json, say

    address, server = address_of(args), chosen_server(args)
    if address is None and args.home is not None:
        raise BadInput("--home is a cluster's folder; here, set OPTIKIT_HOME")
    job: Job | RemoteJob | ServedJob
    if server is not None:
        job = _queued(args, server)
    else:
        submitter = Submitter(args.home, args.pool, address=address, python=args.python)
        job = submitter.start(load_job(args.spec), args.id)
    if args.detach:
        if args.json:
            as_json(job.brief())
        else:
            say(job.id)
        return 0
    if (address or server) and not args.json:
        say(f"job {job.id} was sent to {address or args.server}")
    return follow(job, as_json_only=args.json, headed=True)


def _queued(args: argparse.Namespace, server: Server) -> ServedJob:
    """The job in a service's queue."""
    import secrets

    from optikit.specfile import read_mapping

    for flag, value in (("--pool", args.pool), ("--id", args.id)):
        if value is not None:
            raise BadInput(f"{flag}: that is the service's to say; leave out --server or it")
    return server.submit(read_mapping(args.spec, "job spec"), args.priority, secrets.token_hex(16))
