"""optikit verify CERT: does a certified rate still hold?"""

from __future__ import annotations

import argparse
from typing import Any

from optikit.cli._probes import max_time, note, percent, progress
from optikit.reports.words import interval

HELP = "repeat a certification with new seeds: holds (0), broken (3) or inconclusive (4)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "certificate",
        metavar="CERT",
        help="certificate.json, a bundle's folder, a job, a measurement, or 'last'",
    )
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="a server that runs already; default: the bundle is served, or where the certificate "
        "is of an endpoint, that one is asked",
    )
    parser.add_argument("--model", metavar="NAME", help="the endpoint's name of the model")
    parser.add_argument(
        "--api-key-env", metavar="VAR", help="environment variable that holds the endpoint's key"
    )
    parser.add_argument("--api-key-file", metavar="FILE", help="file that holds the endpoint's key")
    max_time(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Verify one certificate."""
    from optikit.api import default_home, find_certificate, verify
    from optikit.cli._print import as_json
    from optikit.measuring.search import seconds
    from optikit.measuring.verify import VerifyAsk

    home = default_home()
    ask = VerifyAsk.parse(
        {
            "certificate": str(find_certificate(args.certificate, home)),
            "endpoint": args.endpoint,
            "model": args.model,
            "api_key_env": args.api_key_env,
            "api_key_file": args.api_key_file,
            "max_search_s": None if args.max_time is None else seconds(args.max_time),
        }
    )
    verified = verify(ask, home, progress, note)
    facts = verified.facts()
    if args.json:
        as_json(facts)
    else:
        show(facts)
    return verified.exit_code


def show(facts: dict[str, Any]) -> None:
    """The verdict, then both figures side by side."""
    from optikit.cli._print import facts_table, rows_table, say
    from optikit.spec.simulated import marked

    verdict = facts["verdict"].upper() + (" (interrupted)" if facts["interrupted"] else "")
    rows = {
        "verdict": marked(verdict, facts["simulated"]),
        "reason": facts["reason"],
        "certified": f"{facts['rate_rps']:.4g} req/s",
        "sustainable": interval(facts["rate_interval_rps"], "req/s (95 % interval)"),
        "measured": facts["measured"],
        "requests": facts["requests"],
        "seed": facts["seed"],
        "archive": facts["archive"],
    }
    say("")
    say(facts_table("Verification", {k: v for k, v in rows.items() if v is not None}))
    if not facts["bounds"]:
        return
    say("")
    lines = [
        {
            "bound": row["bound"],
            "": side,
            "value ms": None if seen["value_ms"] is None else f"{seen['value_ms']:.4g}",
            "95 % interval": interval([seen["low_ms"], seen["high_ms"]], "ms"),
            "over the limit": percent(seen["share"]),
            "allowed": percent(row["allowed"]),
        }
        for row in facts["bounds"]
        for side, seen in (("then", row["then"]), ("now", row["now"]))
        if seen is not None
    ]
    columns = ("bound", "", "value ms", "95 % interval", "over the limit", "allowed")
    say(rows_table("Then and now", lines, columns))
