"""optikit models add PATH --name N --version V; optikit models list."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "register model folders, list what is registered"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    verbs = parser.add_subparsers(dest="models_verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="register a model folder under a name and version")
    add.add_argument("path", type=Path, metavar="PATH", help="folder in Hugging Face format")
    add.add_argument("--name", required=True, help="what jobs call it")
    add.add_argument("--version", required=True, help="one for good: its content never changes")
    add.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="the folder brings Python code; needs OPTIKIT_TRUST_REMOTE_CODE=1 as well",
    )
    add.add_argument("--json", action="store_true")
    listing = verbs.add_parser("list", help="list registered models")
    listing.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Add or list models."""
    from optikit.api import default_home
    from optikit.cli._print import as_json, bytes_text, rows_table, say
    from optikit.spec.job import ModelStorage
    from optikit.spec.permit import Permit
    from optikit.stores.file import FileModelStore
    from optikit.stores.inside import must_allow_code

    store = FileModelStore(default_home())
    if args.models_verb == "list":
        models = [model.model_dump(mode="json") for model in store.list()]
        if args.json:
            as_json(models)
        else:
            say(rows_table("Models", models, ("name", "version", "digest", "created", "path")))
        return 0
    asked = ModelStorage.parse({"name": args.name, "version": args.version}, "models add")
    if args.trust_remote_code:
        must_allow_code(None, "models add --trust-remote-code")
    permit = Permit(code=args.trust_remote_code)
    model = store.add(args.path, asked.name, asked.version, permit=permit)
    if args.json:
        as_json(model.model_dump(mode="json"))
    else:
        say(f"{model.name}:{model.version} {model.digest} ({bytes_text(model.size_bytes)})")
    return 0
