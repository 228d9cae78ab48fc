"""optikit show JOB: verdict, four corners, stages, quality."""

from __future__ import annotations

import argparse
from typing import Any

from optikit.cli._where import add_places, open_job

HELP = "print a job's result: verdict, four corners, quality, stages"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--plots",
        action="store_true",
        help="draw the tuning and every trial's rate search into the archive (SVG)",
    )
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Show one job."""
    from optikit.cli._print import as_json, say
    from optikit.reports.plots import why_no_plots

    job = open_job(args)
    facts = job.summary()
    drawn = [str(path) for path in job.plots()] if args.plots else []
    if args.json:
        as_json({**facts, "plots": drawn} if args.plots else facts)
        return 0
    show(facts)
    if args.plots:
        say("")
        say("\n".join(drawn) or why_no_plots() or "no trial of this job measured a rate")
    return 0


def _rows_of(dataset: dict[str, Any] | None) -> str | None:
    if dataset is None:
        return None
    left_out = ", ".join(f"{count} {reason}" for reason, count in dataset["skipped"].items())
    return (
        f"{dataset['rows']} rows, {dataset['usable']} usable, {dataset['cut']} cut; left out: "
        f"{left_out or 'none'}"
    )


def show(facts: dict[str, Any]) -> None:
    """The summary as tables, the verdict first."""
    from optikit.cli._print import (
        bytes_text,
        corner_table,
        duration,
        facts_table,
        rows_table,
        say,
    )
    from optikit.reports.words import finalist_rows
    from optikit.spec.quality import Divergence
    from optikit.spec.simulated import marked
    from optikit.spec.workload import Workload

    def title(text: str) -> str:
        return marked(text, facts["simulated"])

    head = {
        "job": facts["id"],
        "state": facts["state"],
        "verdict": facts["verdict"],
        "message": facts["message"],
        "model": facts["model"],
        "from": facts["model_address"],
        "licence": None if facts["simulated"] else facts["licence"],
        "recipe": facts["recipe"],
        "endpoint": facts["endpoint"],
        "sent from" if facts["endpoint"] else "SKU": facts["sku"],
        "SLO": ", ".join(facts["slo"]) or "none (highest sustained rate)",
        "workload": str(Workload.parse(facts["workload"])),
        "bundle": facts["bundle"],
        "serve it": f"{facts['bundle']}/serve.sh"
        if facts["bundle"] and not facts["simulated"]
        else None,
        "certificate": facts["certificate"] if facts["endpoint"] else None,
        "registered as": facts["registered"],
        "dataset": _rows_of(facts["dataset"]),
        "archive": facts["archive"],
        "damaged": f"{facts['damaged_lines']} lines of the journal"
        if facts["damaged_lines"]
        else None,
        "not given back": "; ".join(facts["left"]) or None,
    }
    say(
        facts_table(
            title("Result"), {key: value for key, value in head.items() if value is not None}
        )
    )
    if any(corner["trial"] for corner in facts["corners"].values()):
        say("")
        say(corner_table(facts["corners"], title("Four corners")))
    if facts["finalists"]:
        say("")
        rows = finalist_rows(facts)
        say(rows_table(title("Measured again, interleaved on fresh servers"), rows, tuple(rows[0])))
    for variant, used in facts["usage"].items():
        say(
            f"  devices while tuning ({variant}): {used['reserved']:.0%} held by a trial "
            f"({used['reserved_until_last_launch']:.0%} until the last one began), "
            f"{used['measuring']:.0%} busy with a probe; {facts['device_hours']:.3g} device-hours "
            "in all trials of the job"
        )
    if len(facts["candidates"]) > 1:
        say("")
        rows = [
            {
                **one,
                "took": duration(one["wall_s"]),
                "peak memory": bytes_text(one["peak_memory_bytes"]),
                "size": bytes_text(one["size_bytes"]) if one["size_bytes"] else one["error"],
                "goes on": "yes" if one["goes_on"] else "",
            }
            for one in facts["candidates"]
        ]
        columns = ("id", "samples", "seed", "took", "peak memory", "size", "goes on")
        say(rows_table(title("Candidates"), rows, columns))
    for verdict in facts["quality"]:
        say("")
        say(
            rows_table(
                title(
                    f"Quality of {verdict['candidate_id']}: {verdict['verdict']} "
                    f"({verdict['reason']})"
                ),
                verdict["tasks"],
                (
                    *("task", "metric", "verdict", "items", "baseline", "candidate"),
                    *("recovery", "recovery_stderr", "baseline_relative_std", "items_needed"),
                ),
            )
        )
        if verdict["divergence"]:
            say(f"  divergence: {Divergence.parse(verdict['divergence'])}")
    say("")
    rows = [{**stage, "took": duration(stage["seconds"])} for stage in facts["stages"]]
    say(rows_table(title("Stages"), rows, ("name", "state", "took")))
