"""optikit export WHAT --to TARGET: a bundle's server, or a job, as another system's file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "write a job's certified server, or a job, in the words of another system"
_DETAIL = """\
WHAT is a job with a bundle (id, unique beginning, 'last') or a bundle's folder:
  command, env, systemd             for a machine with the engine environment
  compose                           for a machine with containers
  kubernetes, kserve                manifests
  helm-values, llm-d                values of vLLM's production stack, of llm-d-modelservice
or it is a job spec, JOB.yaml:
  rayjob                            KubeRay, with Kueue
The arguments are those of the bundle, word for word.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{HELP}\n\n{_DETAIL}"
    parser.add_argument("what", metavar="WHAT", help="JOB, a bundle's folder, or JOB.yaml")
    parser.add_argument("spec", nargs="?", help=argparse.SUPPRESS)  # export rayjob JOB.yaml
    parser.add_argument("--to", metavar="TARGET", help="see above")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: print it")
    parser.add_argument(
        "--image", help="default: vLLM's, of the version measured; rayjob: optikit:VERSION"
    )
    parser.add_argument("--namespace", help="Kubernetes namespace (default: that of the context)")
    parser.add_argument(
        "--claim",
        metavar="PVC",
        help="volume claim with the model, or with OptiKIT's home (default: optikit-home)",
    )
    bundle = parser.add_argument_group("of a bundle")
    bundle.add_argument(
        "--model-path",
        metavar="PATH",
        help="the model's folder: in the claim (default: bundles/JOB/model), or on the machine "
        "(default: where the bundle lies)",
    )
    bundle.add_argument("--name", help="of the deployment (default: after the model)")
    bundle.add_argument(
        "--host", help="address to listen on: command, env, systemd, compose (default: 127.0.0.1)"
    )
    bundle.add_argument("--port", type=int, help="default: 8000")
    bundle.add_argument(
        "--python", metavar="PATH", help="the engine's interpreter (default: the recorded one)"
    )
    bundle.add_argument(
        "--api-key-secret",
        metavar="SECRET",
        help="Kubernetes Secret whose key 'api-key' clients must present (default: no key)",
    )
    bundle.add_argument(
        "--startup-s", type=int, metavar="S", help="time to the first answer (default: 1800)"
    )
    bundle.add_argument("--replicas", type=int, metavar="N", help="default: 1")
    bundle.add_argument(
        "--allow-uncertified",
        action="store_true",
        help="also a preliminary, negative or unmeasured bundle; the output says so",
    )
    job = parser.add_argument_group("of a job spec")
    job.add_argument("--id", help="the job's id (default: a new one)")
    job.add_argument("--queue", help="Kueue's local queue; the job then waits for its quota")


_OF_BUNDLE = (
    *("model_path", "name", "host", "port", "python", "api_key_secret", "startup_s", "replicas"),
    "allow_uncertified",
)
_OF_JOB = ("id", "queue")


def run(args: argparse.Namespace) -> int:
    """Export one bundle or one job spec."""
    from optikit.cli._print import say
    from optikit.errors import BadInput
    from optikit.exports import export_named

    target, what = args.to, args.what
    if args.spec is not None:
        if target is not None:
            raise BadInput(
                f"{what} and {args.spec}: give one of them, optikit export WHAT --to ..."
            )
        target, what = args.what, args.spec
    if target is None:
        raise BadInput(f"say what {what} is to be written as: --to kubernetes, --to command, ...")
    of = export_named(target).of
    foreign = _OF_JOB if of == "bundle" else _OF_BUNDLE
    given = [f"--{key.replace('_', '-')}" for key in foreign if getattr(args, key)]
    if given:
        raise BadInput(f"{', '.join(given)} means nothing to the target {target}; leave it out")
    text = _bundle(target, what, args) if of == "bundle" else _job(target, what, args)
    if args.output is None:
        say(text.rstrip("\n"))
    else:
        args.output.write_text(text, encoding="utf-8")
        say(str(args.output))
    return 0


def _given(args: argparse.Namespace, *keys: str) -> dict[str, Any]:
    return {key: value for key in keys if (value := getattr(args, key)) is not None}


def _bundle(target: str, what: str, args: argparse.Namespace) -> str:
    from optikit.api import default_home, export_bundle
    from optikit.exports.base import DeploySettings

    keys = (*_OF_BUNDLE[:-1], "image", "namespace", "claim")
    settings = DeploySettings.parse(_given(args, *keys))
    return export_bundle(target, what, default_home(), settings, args.allow_uncertified)


def _job(target: str, what: str, args: argparse.Namespace) -> str:
    from optikit import __version__
    from optikit.api import export_job, load_job
    from optikit.exports.base import ExportSettings

    image = {"image": f"optikit:{__version__}"}
    settings = ExportSettings.parse(image | _given(args, "image", "namespace", "queue", "claim"))
    return export_job(target, load_job(Path(what)), settings, args.id)
