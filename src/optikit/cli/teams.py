"""optikit teams add | list | token | set | remove: who may use a service."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optikit.service.database import Database

HELP = "add, list, change and remove the teams of a service"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    verbs = parser.add_subparsers(dest="teams_verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="a new team; prints its token, once")
    change = verbs.add_parser("set", help="another weight or quota")
    for sub in (add, change):
        sub.add_argument("--weight", type=float, metavar="W", help="of its share; default: 1")
        sub.add_argument(
            "--quota",
            action="append",
            metavar="KIND=N",
            help="most devices of a kind at a time, such as H100=8; repeat it for more",
        )
    add.add_argument(
        "--again", action="store_true", help="give it the jobs of a removed team of that name"
    )
    token = verbs.add_parser("token", help="a new token; the old one opens nothing any more")
    remove = verbs.add_parser("remove", help="end a team; its jobs and folder stay")
    listing = verbs.add_parser("list", help="list teams")
    for sub in (add, change, token, remove):
        sub.add_argument("name", metavar="NAME", help="of the team")
    for sub in (add, change, token, remove, listing):
        sub.add_argument("--home", type=Path, metavar="DIR", help="of the service")
        sub.add_argument("--database", metavar="URL", help="of the service, where it was given one")
        sub.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Change the teams of one service; it sees them at once, also while it runs."""
    from optikit.api import default_home
    from optikit.service.installed import must_be_installed

    must_be_installed()
    from optikit.service.database import Database

    database = Database((args.home or default_home()).absolute(), args.database)
    try:
        return _run(args, database)
    finally:
        database.close()


def _run(args: argparse.Namespace, database: Database) -> int:
    from optikit.cli._print import as_json, rows_table, say
    from optikit.service import teams
    from optikit.spec.queue import Team

    name = getattr(args, "name", "")
    if args.teams_verb == "list":
        rows = [
            {
                **entry.team.model_dump(mode="json"),
                "token": entry.token_sha256 is not None,
                "home": str(database.home_of(entry.team.name)),
            }
            for entry in database.team_entries()
            if not entry.removed
        ]
        if args.json:
            as_json(rows)
        else:
            shown = [{**row, "quota": _quota_text(row["quota"])} for row in rows]
            say(rows_table("Teams", shown, ("name", "weight", "quota", "token", "home")))
        return 0
    facts: dict[str, object] = {"name": name}
    if args.teams_verb == "add":
        asked = {"name": name, "weight": 1.0 if args.weight is None else args.weight}
        team = Team.parse({**asked, "quota": _quota(args.quota) or {}}, "teams add")
        facts["token"] = teams.add(database, team, again=args.again)
        facts["home"] = str(database.home_of(name))
    elif args.teams_verb == "token":
        facts["token"] = teams.change_token(database, name)
    elif args.teams_verb == "set":
        team = teams.change(database, name, args.weight, _quota(args.quota))
        facts |= team.model_dump(mode="json")
    else:
        teams.remove(database, name)
        facts["removed"] = True
    if args.json:
        as_json(facts)
    elif "token" in facts:
        say(f"token of team {name}, shown this once: {facts['token']}")
    else:
        say(f"team {name} is {'removed' if 'removed' in facts else 'changed'}")
    return 0


def _quota_text(quota: dict[str, int]) -> str:
    return " ".join(f"{kind}={count}" for kind, count in quota.items()) or "-"


def _quota(asked: list[str] | None) -> dict[str, int] | None:
    """None: not said.

    Raises:
        BadInput: not ``KIND=N``.
    """
    from optikit.errors import BadInput

    if asked is None:
        return None
    found = {}
    for word in asked:
        kind, _, count = word.partition("=")
        if not kind or not count.isdecimal():
            raise BadInput(f"--quota {word}: write it as KIND=N, such as H100=8")
        found[kind] = int(count)
    return found
