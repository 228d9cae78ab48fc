"""Teams come, change and go: what ``optikit teams`` does."""

from __future__ import annotations

import re

from optikit.errors import BadInput, UnknownName, nearest
from optikit.service.database import Database, TeamEntry
from optikit.service.tokens import digest_of_token, new_token
from optikit.spec.queue import Team
from optikit.spec.sku import ResourceSKU

__all__ = ["OPEN_TEAM", "add", "change", "change_token", "remove"]

OPEN_TEAM = "default"
"""Whose jobs are all jobs of a service on the loopback address that has no team of its own."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def add(
    database: Database,
    team: Team,
    again: bool = False,
    with_token: bool = True,
) -> str | None:
    """A new team with a folder of its own; its token, which nobody can read later.

    Args:
        again: a team of that name was removed; the new one gets its jobs and models.

    Raises:
        BadInput: the name cannot be a folder's, is taken, or was taken once.
    """
    if not _NAME.fullmatch(team.name):
        raise BadInput(
            f"{team.name!r:.80} cannot be a team's name; use up to 63 of a-z, 0-9, - and _"
        )
    _check(team)
    known = {entry.team.name: entry for entry in database.team_entries()}.get(team.name)
    if known is not None and not known.removed:
        raise BadInput(f"there is a team {team.name}; change it with `optikit teams set`")
    if known is not None and not again:
        raise BadInput(
            f"there was a team {team.name}, and its jobs and models are kept; --again gives them "
            "to the new one, another name leaves them alone"
        )
    database.home_of(team.name).mkdir(parents=True, exist_ok=True, mode=0o700)
    token = new_token() if with_token else None
    database.put_team(team, digest_of_token(token) if token else None)
    return token


def change(
    database: Database, name: str, weight: float | None, quota: dict[str, int] | None
) -> Team:
    """Another weight or quota, from the queue's next turn on.

    Raises:
        UnknownName: no such team.
    """
    known = _there(database, name)
    changes = {"weight": weight, "quota": quota}
    given = {key: value for key, value in changes.items() if value is not None}
    team = Team.parse({**known.team.model_dump(), **given}, "teams set")
    _check(team)
    database.put_team(team, known.token_sha256)
    return team


def change_token(database: Database, name: str) -> str:
    """A new token; the old one opens nothing any more.

    Raises:
        UnknownName: no such team.
    """
    known, token = _there(database, name), new_token()
    database.put_team(known.team, digest_of_token(token))
    return token


def remove(database: Database, name: str) -> None:
    """The team is gone; its jobs and folder stay until somebody deletes them.

    Raises:
        UnknownName: no such team.
        BadInput: it has jobs that have not ended.
    """
    _there(database, name)
    live = [job.id for job in database.live() if job.team == name]
    if live:
        raise BadInput(
            f"team {name} has {len(live)} jobs that have not ended ({', '.join(live[:3])}); cancel "
            "them first"
        )
    database.remove_team(name)


def _there(database: Database, name: str) -> TeamEntry:
    known = {entry.team.name: entry for entry in database.team_entries() if not entry.removed}
    if name not in known:
        raise UnknownName(f"no team {name!r:.80}; {nearest(name, known)}")
    return known[name]


def _check(team: Team) -> None:
    kinds = {sku.facts.accelerator or sku.facts.kind for sku in ResourceSKU}
    for kind, count in team.quota.items():
        if kind not in kinds:
            raise BadInput(f"quota of {kind!r:.80}: no such device; {nearest(kind, kinds)}")
        if count < 0:
            raise BadInput(f"quota of {kind}: {count} is less than none")
