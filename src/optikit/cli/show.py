"""optikit show JOB: verdict, four corners, stages, quality."""

from __future__ import annotations

import argparse
from typing import Any

HELP = "print a job's result: verdict, four corners, quality, stages"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Show one job."""
    from optikit.api import Job
    from optikit.cli._print import as_json
    from optikit.reports.summary import summary

    facts = summary(Job.open(args.job).archive)
    if args.json:
        as_json(facts)
    else:
        show(facts)
    return 0


def show(facts: dict[str, Any]) -> None:
    """The summary as tables, the verdict first."""
    from optikit.cli._print import corner_table, duration, facts_table, rows_table, say

    head = {
        "job": facts["id"],
        "state": facts["state"],
        "verdict": facts["verdict"],
        "message": facts["message"],
        "model": facts["model"],
        "recipe": facts["recipe"],
        "SKU": facts["sku"],
        "SLO": ", ".join(facts["slo"]) or "none (highest sustained rate)",
        "workload": f"{facts['workload']['prompt_tokens']} prompt + "
        f"{facts['workload']['output_tokens']} output tokens, {facts['workload']['arrivals']}",
        "bundle": facts["bundle"],
        "serve it": f"{facts['bundle']}/serve.sh" if facts["bundle"] else None,
        "registered as": facts["registered"],
        "archive": facts["archive"],
        "damaged": f"{facts['damaged_lines']} lines of the journal"
        if facts["damaged_lines"]
        else None,
    }
    say(facts_table("Result", {key: value for key, value in head.items() if value is not None}))
    if any(corner["trial"] for corner in facts["corners"].values()):
        say("")
        say(corner_table(facts["corners"]))
    for verdict in facts["quality"]:
        say("")
        say(
            rows_table(
                f"Quality of {verdict['candidate_id']}: {verdict['verdict']} ({verdict['reason']})",
                verdict["tasks"],
                ("task", "metric", "items", "baseline", "candidate", "recovery", "recovery_stderr"),
            )
        )
    say("")
    rows = [{**stage, "took": duration(stage["seconds"])} for stage in facts["stages"]]
    say(rows_table("Stages", rows, ("name", "state", "took")))
