"""optikit status JOB: where a job stands."""

from __future__ import annotations

import argparse

from optikit.cli._where import add_places, open_job

HELP = "print where a job stands"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("job", metavar="JOB", help="id, a unique beginning of it, or 'last'")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="wait for the end, with progress; Ctrl-C only stops watching",
    )
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Status of one job."""
    from optikit.cli._print import as_json, duration, facts_table, rows_table, say
    from optikit.spec.simulated import marked

    job = open_job(args)
    if args.follow:
        from optikit.cli._follow import follow

        return follow(job, as_json_only=args.json, cancels=False)
    status = job.status()
    if args.json:
        as_json(status)
        return 0
    simulated = status["simulated"]
    left_out = ("stages", "simulated")
    head = {k: value for k, value in status.items() if k not in left_out and value is not None}
    say(facts_table(marked("Job", simulated), head))
    rows = [{**stage, "took": duration(stage["seconds"])} for stage in status["stages"]]
    say(rows_table(marked("Stages", simulated), rows, ("name", "state", "took")))
    return 0
