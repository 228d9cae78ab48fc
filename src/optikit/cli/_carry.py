"""optikit archive push JOB URI, archive pull URI: archives to and from elsewhere."""

from __future__ import annotations

import argparse

__all__ = ["pull", "pull_arguments", "push", "push_arguments"]


def push_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument(
        "uri",
        metavar="URI",
        help="s3://BUCKET/FOLDER, webhdfs://HOST:PORT/FOLDER, file:///FOLDER; it goes below, under "
        "its id",
    )
    parser.add_argument("--json", action="store_true")


def pull_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "uri", metavar="URI", help="the address that push printed, or URI/JOB without its digest"
    )
    parser.add_argument("--json", action="store_true")


def push(args: argparse.Namespace) -> int:
    """Bring an archive there; its address, with the digest of its list of files."""
    from optikit.api import push_archive

    return _said(args, push_archive(args.job, args.uri))


def pull(args: argparse.Namespace) -> int:
    """Bring an archive here."""
    from optikit.api import pull_archive

    return _said(args, pull_archive(args.uri))


def _said(args: argparse.Namespace, carried: object) -> int:
    from dataclasses import asdict

    from optikit.api import Carried
    from optikit.cli._print import as_json, bytes_text, say

    assert isinstance(carried, Carried)
    if args.json:
        as_json(asdict(carried))
        return 0
    say(carried.address if args.action == "push" else carried.job_id)
    if args.action == "pull" and not carried.moved:
        say("it is here already, the same")
    else:
        say(f"{carried.files} files, {bytes_text(carried.bytes)}")
    return 0
