"""The command line: argv -> api. One file a verb; the only room that prints."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from optikit import __version__
from optikit.errors import OptikitError

__all__ = ["main"]

VERBS = (
    "init",
    "plan",
    "export",
    "submit",
    "benchmark",
    "verify",
    "certificate",
    "status",
    "trials",
    "show",
    "report",
    "compare",
    "logs",
    "list",
    "archive",
    "cancel",
    "resume",
    "models",
    "serve",
    "teams",
    "login",
    "schema",
    "completion",
    "doctor",
)


def parser() -> argparse.ArgumentParser:
    """The whole command line; building it imports nothing heavy."""
    top = argparse.ArgumentParser(
        prog="optikit",
        description="LLM optimization as a job: one spec in, a compressed, quality-checked, "
        "SLO-certified, tuned, deployable model out.",
        epilog="exit codes: 0 done, 1 failed, 2 bad input, 3 finished with a negative verdict, "
        "4 inconclusive, 130 cancelled",
    )
    top.add_argument("--version", action="version", version=f"optikit {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        verb = import_module(f"optikit.cli.{name}")
        sub = verbs.add_parser(name, help=verb.HELP, description=verb.HELP)
        verb.arguments(sub)
        sub.set_defaults(run=verb.run)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except OptikitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader left; Python would complain at exit
        return 0
