"""optikit benchmark --endpoint URL: the certified rate of a server that is already running."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optikit.cli._probes import max_time, note, progress
from optikit.reports.words import interval

if TYPE_CHECKING:
    from optikit.measuring.benchmark import EndpointAsk

HELP = "find and certify the highest rate that a running server holds; needs no GPU, no job spec"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--endpoint", required=True, metavar="URL", help="with or without /v1")
    parser.add_argument("--model", metavar="NAME", help="default: the only one that it serves")
    parser.add_argument(
        "--workload",
        type=Path,
        metavar="W.yaml",
        help="default: 512 prompt and 128 output tokens, Poisson arrivals",
    )
    parser.add_argument(
        "--slo",
        action="append",
        default=[],
        metavar="BOUND",
        help='such as "p95(e2e)<=500ms"; repeat it for more. None: the highest sustained rate',
    )
    max_time(parser)
    parser.add_argument("--api", choices=("completions", "chat"), default="completions")
    parser.add_argument(
        "--prompts", choices=("tokens", "text"), help="default: tokens, text for chat"
    )
    parser.add_argument("--method", metavar="METHOD", help="of rate search; default: adjusted")
    parser.add_argument("--seed", type=int, metavar="N", help="default: the workload's")
    parser.add_argument("--max-num-seqs", type=int, metavar="N", help="seats of the server")
    parser.add_argument("--vocab", type=int, metavar="N", help="token ids are drawn below it")
    parser.add_argument(
        "--no-enforce-length",
        action="store_true",
        help="for servers that refuse min_tokens and ignore_eos: answers may then be shorter",
    )
    parser.add_argument(
        "--api-key-env", metavar="VAR", help="environment variable that holds the server's key"
    )
    parser.add_argument("--api-key-file", metavar="FILE", help="file that holds the server's key")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Benchmark one endpoint."""
    from optikit.api import benchmark_endpoint, default_home
    from optikit.cli._print import as_json

    measured = benchmark_endpoint(
        asked(args), default_home(), progress, lambda text: note(f"warning: {text}")
    )
    facts = measured.facts()
    if args.json:
        as_json(facts)
    else:
        show(facts)
    return measured.exit_code


def asked(args: argparse.Namespace) -> EndpointAsk:
    """The arguments as a request.

    Raises:
        BadInput: a file or word that cannot be used.
    """
    from optikit.measuring.benchmark import EndpointAsk
    from optikit.measuring.search import seconds
    from optikit.spec.slo import Slo
    from optikit.spec.workload import Workload
    from optikit.specfile import read_mapping

    workload = {} if args.workload is None else read_mapping(args.workload, "workload")
    if args.seed is not None:
        workload["seed"] = args.seed
    method: dict[str, Any] = {"name": args.method} if args.method else {}
    if args.max_time is not None:
        method["max_search_s"] = seconds(args.max_time)
    return EndpointAsk.parse(
        {
            "endpoint": args.endpoint,
            "model": args.model,
            "workload": Workload.parse(workload, str(args.workload or "--seed")),
            "slo": Slo.parse(args.slo, "--slo"),
            "method": method,
            "api": args.api,
            "prompts": args.prompts,
            "vocab": args.vocab,
            "enforce_length": not args.no_enforce_length,
            "max_num_seqs": args.max_num_seqs,
            "api_key_env": args.api_key_env,
            "api_key_file": args.api_key_file,
        }
    )


def show(facts: dict[str, Any]) -> None:
    """The result as a table, the verdict first."""
    from optikit.cli._print import facts_table, say

    rate, most = facts["rate_rps"], facts["saturation_rps"]
    held = None if rate is None else f"{rate:.4g} req/s ({facts['status']})"
    rows = {
        "verdict": facts["verdict"] + (" (interrupted)" if facts["interrupted"] else ""),
        "rate": held,
        "sustainable": interval(facts["rate_interval_rps"], "req/s (95 % interval)"),
        "saturation": None if most is None else f"{most:.4g} req/s",
        "reason": facts["reason"],
        "model": facts["model"],
        "engine": facts["engine"],
        "requests": f"{facts['requests']}, {facts['requests_at_rate']} of them at this rate",
        "certificate": facts["certificate"],
        "archive": facts["archive"],
    }
    say("")
    say(facts_table("Result", {key: value for key, value in rows.items() if value is not None}))
