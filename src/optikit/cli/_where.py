"""Where the jobs are that a verb speaks of: this machine, a Ray cluster by its address, or a
service by its URL."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from optikit.cli._server import add_server, chosen_server
from optikit.errors import BadInput

if TYPE_CHECKING:
    from optikit.api import Job, RemoteJob
    from optikit.service.client import ServedJob

__all__ = ["add_places", "address_of", "job_rows", "open_job"]

_ADDRESS = "OPTIKIT_ADDRESS"


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where."""
    parser.add_argument(
        "--address",
        metavar="URL",
        help="dashboard of a Ray cluster, http://HEAD:8265, where the job is (default: "
        f"${_ADDRESS}; none: this machine)",
    )
    add_server(parser)


def address_of(args: argparse.Namespace) -> str | None:
    """The cluster that is meant; None: this machine, or a service.

    Raises:
        BadInput: both were asked for.
    """
    if args.server is not None:
        if args.address:
            raise BadInput(
                f"--address {args.address} and --server {args.server}: a job is at one of them"
            )
        return None
    asked = args.address if args.address is not None else os.environ.get(_ADDRESS)
    return asked or None


def open_job(args: argparse.Namespace) -> Job | RemoteJob | ServedJob:
    """The job that ``args.job`` names.

    Raises:
        UnknownName: with the nearest ids.
        ClusterError: the cluster cannot be reached, or refused.
    """
    from optikit.api import Job, RemoteJob

    address, server = address_of(args), chosen_server(args)
    if server is not None:
        return server.job(args.job)
    return Job.open(args.job) if address is None else RemoteJob.open(args.job, address)


def job_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The jobs there that are asked for, oldest first: what ``list`` prints.

    Raises:
        BadInput: what is asked for cannot be told there.
    """
    from optikit.api import list_indexed, list_jobs, list_remote_jobs
    from optikit.core.listing import wanted

    asked = wanted(time.time(), args.state, args.model, args.team, args.since, args.limit)
    if args.index is not None:
        return list_indexed(args.index, asked)
    address, server = address_of(args), chosen_server(args)
    if address is None and server is None:
        return list_jobs(wanted=asked)
    if args.team is not None:
        where = "a service shows a team its own jobs" if server else "a cluster knows no teams"
        raise BadInput(f"--team {args.team}: {where}; leave it out")
    rows = list_remote_jobs(address) if address else list(server.jobs())[::-1] if server else []
    rows = [row for row in rows if asked.fits(row)]
    return rows if asked.limit is None else rows[-asked.limit :]
