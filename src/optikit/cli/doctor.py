"""optikit doctor: what this machine has, what is missing and how to get it."""

from __future__ import annotations

import argparse
from typing import Any

HELP = "say what this machine has, what is missing, and how to get it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--leftovers",
        action="store_true",
        help="only look for live processes that ended jobs left behind; exit 1 if there are any",
    )


def run(args: argparse.Namespace) -> int:
    """Examine the machine."""
    return _leftovers(args.json) if args.leftovers else _machine(args.json)


def _leftovers(as_json_only: bool) -> int:
    from optikit.api import leftovers
    from optikit.cli._print import as_json, say

    found = [{"job": job, **group.model_dump(mode="json")} for job, group in leftovers()]
    if as_json_only:
        as_json(found)
    elif found:
        for row in found:
            say(f"job {row['job']}: process group {row['pgid']} lives ({row['what']})")
        say(f"end them with: kill -KILL -- {' '.join('-' + str(row['pgid']) for row in found)}")
    else:
        say("no process of any process group that the archive names is alive")
    return 1 if found else 0


def _machine(as_json_only: bool) -> int:
    from optikit.api import default_home
    from optikit.cli._print import as_json, rows_table, say
    from optikit.reports.machine import examine

    checks: list[dict[str, Any]] = examine(default_home())
    if as_json_only:
        as_json(checks)
    else:
        rows = [{**check, "": "ok" if check["ok"] else "MISSING"} for check in checks]
        say(rows_table("This machine", rows, ("", "what", "found", "remedy")))
    return 0 if all(check["ok"] for check in checks) else 1
