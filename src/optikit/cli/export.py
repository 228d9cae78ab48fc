"""optikit export EXPORT JOB.yaml: a job as a file that another system runs."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a job as a manifest for another system (rayjob: KubeRay, with Kueue)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="EXPORT", help="what to write: rayjob")
    parser.add_argument("spec", type=Path, metavar="JOB.yaml")
    parser.add_argument("--id", help="the job's id (default: a new one)")
    parser.add_argument(
        "--image", help="image with Ray and OptiKIT (default: optikit:VERSION; see the how-to)"
    )
    parser.add_argument("--namespace", help="Kubernetes namespace (default: that of the context)")
    parser.add_argument("--queue", help="Kueue's local queue; the job then waits for its quota")
    parser.add_argument(
        "--claim",
        default="optikit-home",
        help="persistent volume claim that holds OptiKIT's home (default: optikit-home)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: print it")


def run(args: argparse.Namespace) -> int:
    """Export one job spec."""
    from optikit import __version__
    from optikit.api import export_job, load_job
    from optikit.cli._print import say
    from optikit.exports.base import ExportSettings

    settings = ExportSettings.parse(
        {
            "image": args.image or f"optikit:{__version__}",
            "namespace": args.namespace,
            "queue": args.queue,
            "claim": args.claim,
        }
    )
    text = export_job(args.name, load_job(args.spec), settings, args.id)
    if args.output is None:
        say(text.rstrip("\n"))
    else:
        args.output.write_text(text)
        say(str(args.output))
    return 0
