"""optikit models add|list|show|promote|rollback: what jobs begin with, and what they published."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optikit.spec.published import PublishedModel

HELP = "register model folders; list, show, promote and roll back what jobs published"


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
    verbs.add_parser("list", help="models to begin with, and versions that jobs published")
    show = verbs.add_parser("show", help="all that is known of a published model or version")
    show.add_argument("model", metavar="NAME[@ALIAS|:VERSION]")
    promote = verbs.add_parser(
        "promote",
        help="put an alias on a version; 'certified' only with a certificate, a quality that was "
        "not lost, and a bundle that is what was published",
    )
    promote.add_argument("model", metavar="NAME:VERSION")
    promote.add_argument("--to", metavar="ALIAS", default="certified", help="default: certified")
    rollback = verbs.add_parser("rollback", help="put an alias back on what it named before")
    rollback.add_argument("model", metavar="NAME")
    rollback.add_argument("--alias", default="certified", help="default: certified")
    for one in (promote, rollback):
        one.add_argument(
            "--anyway", metavar="REASON", help="do it against a refusal; the reason is kept"
        )
    for one in verbs.choices.values():
        one.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs = {"add": _add, "list": _list, "show": _show, "promote": _promote, "rollback": _rollback}
    return verbs[args.models_verb](args)


def _add(args: argparse.Namespace) -> int:
    from optikit.api import default_home
    from optikit.cli._print import as_json, bytes_text, say
    from optikit.spec.job import ModelStorage
    from optikit.spec.permit import Permit
    from optikit.stores.file import FileModelStore
    from optikit.stores.inside import must_allow_code

    store = FileModelStore(default_home())
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


def _list(args: argparse.Namespace) -> int:
    """What the folders of this home hold is listed also where the registry is away."""
    from optikit.api import default_home, published_models
    from optikit.cli._print import as_json, rows_table, say
    from optikit.errors import OptikitError
    from optikit.stores.file import FileModelStore

    models = [one.model_dump(mode="json") for one in FileModelStore(default_home()).list()]
    away, published = None, []
    try:
        published = published_models()
    except OptikitError as error:
        away = str(error)
    if args.json:
        rows = [_model_facts(one) for one in published]
        as_json({"models": models, "published": rows, "registry_error": away})
        return 0
    say(rows_table("Models", models, ("name", "version", "digest", "created", "path")))
    say("")
    if away is not None:
        say(f"what was published is not known: {away}")
        return 0
    rows = [
        {
            "model": one.name,
            **row,
            "aliases": ", ".join(row["aliases"]),
            "rate": _rate(row["certified_rate_rps"]),
        }
        for one in published
        for row in _versions(one)
    ]
    columns = ("model", "version", "aliases", "status", "rate", "sku", "recipe", "quality", "job")
    say(rows_table("Published", rows, columns))
    return 0


def _rate(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.4g} requests/s"


def _versions(model: PublishedModel) -> list[dict[str, Any]]:
    from optikit.core.promotion import headline

    return [headline(one) for one in model.versions]


def _model_facts(model: PublishedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "aliases": model.aliases,
        "versions": _versions(model),
        "moves": [move.model_dump(mode="json") for move in model.moves],
    }


def _show(args: argparse.Namespace) -> int:
    from optikit.api import published_model
    from optikit.cli._print import as_json, facts_table, rows_table, say

    found = published_model(args.model)
    model, version = found.model, found.version
    if version is None:
        if args.json:
            as_json(_model_facts(model))
            return 0
        rows = [{**row, "aliases": ", ".join(row["aliases"])} for row in _versions(model)]
        columns = ("version", "aliases", "created", "status", "certified_rate_rps", "sku", "job")
        say(rows_table(model.name, rows, columns))
    else:
        facts = version.model_dump(mode="json")
        if args.json:
            as_json({**facts, "provenance": found.provenance})
            return 0
        told = {
            "model": model.name,
            "version": version.version,
            "aliases": ", ".join(version.aliases) or "none",
            "created": version.created,
            **dict(sorted(version.tags.items())),
            "files": version.source,
        }
        say(facts_table(f"{model.name}:{version.version}", told))
        if found.provenance is not None:
            say("")
            say(rows_table("Made from", _made_from(found.provenance), ("what", "digest", "more")))
    if model.moves:
        say("")
        moves = [
            {**move.model_dump(), "from": move.before, "to": move.after} for move in model.moves
        ]
        say(rows_table("Aliases", moves, ("at", "alias", "from", "to", "how", "by", "why")))
    return 0


def _made_from(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """What a statement depends on, as far as it is one of ours."""
    try:
        parts = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
        return [
            {
                "what": part.get("uri") or part["name"],
                "digest": ", ".join(map(str, part.get("digest", {}).values())),
                "more": ", ".join(
                    f"{key} {value}"
                    for key, value in part.get("annotations", {}).items()
                    if value not in (None, [], False)
                ),
            }
            for part in parts
        ]
    except (KeyError, TypeError, AttributeError):
        return []


def _promote(args: argparse.Namespace) -> int:
    from optikit.api import promote_model

    return _say_moved(args, promote_model(args.model, args.to, args.anyway))


def _rollback(args: argparse.Namespace) -> int:
    from optikit.api import rollback_model

    return _say_moved(args, rollback_model(args.model, args.alias, args.anyway))


def _say_moved(args: argparse.Namespace, move: Any) -> int:
    from optikit.cli._print import as_json, say
    from optikit.core.promotion import parse_reference

    name = parse_reference(args.model)[0]
    if args.json:
        as_json({"name": name, **move.model_dump(mode="json")})
    else:
        say(f"{name}@{move.alias} is version {move.after} (it was {move.before or 'none'})")
    return 0
