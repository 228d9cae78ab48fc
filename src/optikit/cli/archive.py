"""optikit archive check [JOB...]: derive an archive's figures again and compare; archive gc: free
the disk; archive sync: tell the tracker again; archive trace: send a job's trace again; archive
index: bring the index in SQL up to date; archive query: ask it; archive push and pull: bring an
archive elsewhere, and back."""

from __future__ import annotations

import argparse

from optikit.cli import _carry, _gc, _index, _sync, _trace

HELP = (
    "check that archives hold what was measured; ask across jobs; bring them elsewhere and back; "
    "free the disk; tell tracker and traces again"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="derive every figure again from the raw files and compare; exit 1 if one differs",
    )
    check.add_argument(
        "jobs", nargs="*", metavar="JOB", help="ids, beginnings of them, or 'last'; none: every job"
    )
    check.add_argument("--json", action="store_true")
    _sync.arguments(
        actions.add_parser(
            "sync", help="tell the tracker again what publish told it: it was down, or is another"
        )
    )
    _trace.arguments(
        actions.add_parser(
            "trace", help="send jobs' OpenTelemetry traces again, or print their spans as JSON"
        )
    )
    _index.arguments(
        actions.add_parser(
            "index", help="bring the index up to date: a SQL database of every job, trial, probe"
        )
    )
    _index.query_arguments(actions.add_parser("query", help="ask the index in SQL"))
    _carry.push_arguments(
        actions.add_parser("push", help="bring an ended job's archive to a bucket, HDFS or folder")
    )
    _carry.pull_arguments(
        actions.add_parser(
            "pull", help="bring back, and verify, an archive that push brought there"
        )
    )
    _gc.arguments(
        actions.add_parser(
            "gc",
            help="remove archives of ended jobs, and models that nobody needs; shows them first",
        )
    )


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    actions = {"gc": _gc.run, "sync": _sync.run, "trace": _trace.run, "check": _check}
    actions |= {"push": _carry.push, "pull": _carry.pull}
    actions |= {"index": _index.run, "query": _index.query}
    return actions[args.action](args)


def _check(args: argparse.Namespace) -> int:
    from optikit.api import check_archives
    from optikit.cli._print import as_json, rows_table, say

    checks = check_archives(args.jobs)
    if args.json:
        as_json([{**one.model_dump(mode="json"), "clean": one.clean} for one in checks])
        return 0 if all(one.clean for one in checks) else 1
    rows = [
        {
            "job": one.job_id,
            "": "clean" if one.clean else f"{len(one.findings)} FOUND",
            "trials": one.trials,
            "probes": one.probes,
            "requests": one.requests,
            "files": one.files,
            "torn lines": one.torn_lines,
        }
        for one in checks
    ]
    columns = ("job", "", "trials", "probes", "requests", "files", "torn lines")
    say(rows_table("Archives, derived again", rows, columns))
    found = [
        {
            "job": one.job_id,
            "kind": finding.kind,
            "where": finding.where,
            "recorded": _text(finding.recorded),
            "derived": _text(finding.derived),
        }
        for one in checks
        for finding in one.findings
    ]
    if found:
        say("")
        say(rows_table("Found", found, ("job", "kind", "where", "recorded", "derived")))
    return 1 if found else 0


def _text(value: object) -> str:
    """A figure in full: rounding it would hide the difference."""
    return "-" if value is None else str(value)
