"""optikit init FOLDER|NAME: a first job spec for a model, with the reason for every value."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a commented job spec for a model folder, a registered model or a shipped shape"

_LONG_S = 3600.0
"""A job that is expected to take longer is worth a shorter one before."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a model folder, NAME or NAME:VERSION of the registry, or a shape that ships",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="job.yaml",
        metavar="FILE",
        help="never overwritten; - prints it (default: job.yaml)",
    )
    parser.add_argument(
        "--sku",
        metavar="SKU",
        help="default: the smallest that holds the model, this machine's first",
    )
    parser.add_argument(
        "--engine",
        metavar="ENGINE",
        help="default: vllm; simulated for a model without weights",
    )
    parser.add_argument(
        "--dataset",
        metavar="PATH",
        help="calibration text, a folder, file or hf://ORG/NAME: for recipes that calibrate",
    )
    parser.add_argument("--prompt-tokens", type=int, metavar="N", help="of a request")
    parser.add_argument("--output-tokens", type=int, metavar="N", help="of a request")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a first try: two trials and short probes; the rate is preliminary",
    )
    parser.add_argument("--json", action="store_true", help="print what was suggested as JSON")


def run(args: argparse.Namespace) -> int:
    """Suggest a job and write it down."""
    from optikit.api import default_home, first_spec
    from optikit.cli._print import as_json, duration, say
    from optikit.errors import BadInput

    shown = args.output == "-"
    file = Path(args.output)
    if shown and args.json:
        raise BadInput("--json and --output - both print; choose one")
    if not shown and file.exists():
        raise BadInput(f"{file} is there already and is not overwritten; choose another --output")
    spec = first_spec(
        args.model,
        default_home(),
        file="job.yaml" if shown else str(file),
        engine=args.engine,
        sku=args.sku,
        dataset=args.dataset,
        prompt_tokens=args.prompt_tokens,
        output_tokens=args.output_tokens,
        quick=args.quick,
    )
    if shown:
        say(spec.text.rstrip("\n"))
        return 0
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(spec.text)
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}; choose another --output") from None
    job, why = spec.suggestion.job, spec.suggestion.why
    if args.json:
        as_json({"file": str(file), "job": job.model_dump(mode="json"), "why": dict(why)})
        return 0
    recipe = job.flow_params.recipe[0] if spec.suggestion.plan.flow.compresses else "uncompressed"
    say(f"{file}: {job.model.name} on {job.compute.sku}, {recipe}, {job.engine.name}, {job.slo}")
    say(f"next: optikit plan {file} --predict, then optikit submit {file}")
    estimate_s = spec.suggestion.plan.estimate_s
    if estimate_s > _LONG_S and not args.quick:
        say(f"first estimate {duration(estimate_s)}; for a first try of minutes: --quick")
    return 0
