"""What may stand at a place of a command line, from the parser itself: it cannot go stale.

The kind of a value is its metavar: what ``--help`` calls JOB is completed with ids of jobs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["FILES", "FOLDERS", "FREE", "KINDS", "candidates", "kind_of"]

FILES, FOLDERS = ":files", ":folders"
"""Answers that leave it to the shell, which knows how it writes paths."""
Values = Callable[[], Iterator[str]]


def _jobs() -> Iterator[str]:
    from optikit.archive import default_home, is_id

    folder = default_home() / "jobs"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    yield from sorted((name for name in names if is_id(name)), reverse=True)
    if names:
        yield "last"


def _models() -> Iterator[str]:
    from optikit.archive import default_home
    from optikit.stores.shapes import shipped_names

    folder = default_home() / "models"
    mine = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    yield from sorted(mine | set(shipped_names()))


def _skus() -> Iterator[str]:
    from optikit.spec.sku import ResourceSKU

    yield from (sku.value for sku in ResourceSKU)


def _engines() -> Iterator[str]:
    from optikit.engines import ENGINES

    yield from ENGINES.names()


def _pools() -> Iterator[str]:
    from optikit.pools import POOLS

    yield from POOLS.names()


def _exports() -> Iterator[str]:
    from optikit.exports import EXPORTS

    yield from (name.replace("_", "-") for name in EXPORTS.names())


def _methods() -> Iterator[str]:
    from optikit.core.rate import METHODS

    yield from METHODS


def _states() -> Iterator[str]:
    from optikit.spec.retention import REMOVABLE

    yield from sorted(REMOVABLE)


def _any_states() -> Iterator[str]:
    from optikit.spec.listing import JOB_STATES

    yield from sorted(JOB_STATES)


def _files() -> Iterator[str]:
    yield FILES


def _folders() -> Iterator[str]:
    yield FOLDERS


KINDS: Mapping[str, tuple[Values, ...]] = {
    "ANY_STATE": (_any_states,),
    "CERT": (_jobs, _files),
    "DIR": (_folders,),
    "ENGINE": (_engines,),
    "FILE": (_files,),
    "JOB": (_jobs,),
    "JOB.yaml": (_files,),
    "METHOD": (_methods,),
    "MODEL": (_models, _folders),
    "PATH": (_files,),
    "POOL": (_pools,),
    "SKU": (_skus,),
    "STATE": (_states,),
    "TARGET": (_exports,),
    "W.yaml": (_files,),
    "WHAT": (_jobs, _files),
    "site.yaml": (_files,),
}
"""What each kind of value may be."""
FREE = frozenset(
    {
        *("AGE", "ALIAS", "BOUND", "HOST", "ID", "IMAGE", "KIND=N", "N", "NAME", "NAMESPACE"),
        *("NAME:VERSION", "NAME[@ALIAS|:VERSION]", "REASON", "URI"),
        *(
            "PORT",
            "PVC",
            "QUEUE",
            "S",
            "SECRET",
            "SIZE",
            "SQL",
            "TIME",
            "TRIAL",
            "URL",
            "VAR",
            "VERSION",
            "W",
        ),
    }
)
"""Kinds that only the user knows."""


def kind_of(action: argparse.Action) -> str:
    """What ``--help`` calls an argument's value."""
    return str(action.metavar) if action.metavar is not None else action.dest.upper()


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[tuple[str, str]]:
    """What the last of the words may become, each with a line of help (perhaps empty).

    Args:
        words: behind the program's name, up to the cursor; the last one may be empty.
    """
    *before, current = words or [""]
    place = _Place(parser)
    for word in before:
        place.take(word)
    name, equals, part = current.partition("=")
    if current.startswith("-") and equals and place.pending is None:  # --name=part
        place.take(name)
        found = [(f"{name}={value}", told) for value, told in place.values(part)]
        return [one for one in found if not one[0].endswith((FILES, FOLDERS))]
    if current == "=" and place.pending is not None:  # bash makes a word of it
        current = ""
    return place.values(current)


class _Place:
    """Where in a command line the words so far have led."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._enter(parser)
        self.pending: argparse.Action | None = None
        """An option that waits for its value."""

    def _enter(self, parser: argparse.ArgumentParser) -> None:
        actions = parser._actions  # argparse has no public way to walk a parser
        self._options = {name: a for a in actions for name in a.option_strings}
        self._positionals = [a for a in actions if not a.option_strings]
        self._seen: set[argparse.Action] = set()
        self._only_values = False

    def take(self, word: str) -> None:
        """One word that stands before the cursor."""
        if self.pending is not None:
            if word != "=":
                self.pending = None
        elif word == "--" and not self._only_values:
            self._only_values = True
        elif word.startswith("-") and word != "-" and not self._only_values:
            name, equals, _ = word.partition("=")
            action = self._options.get(name)
            if action is not None:
                self._seen.add(action)
                self.pending = action if action.nargs != 0 and not equals else None
        elif self._positionals:
            action = self._positionals[0]
            if isinstance(action, argparse._SubParsersAction):
                if word in action.choices:
                    self._enter(action.choices[word])
                else:  # no such verb: nobody knows what follows
                    self._positionals, self._options = [], {}
            elif action.nargs not in ("*", "+"):
                self._positionals = self._positionals[1:]

    def values(self, part: str) -> list[tuple[str, str]]:
        """What may stand here and begins like that."""
        if self.pending is not None:
            return _of(self.pending, part)
        if part.startswith("-") and not self._only_values:
            return self._of_options(part)
        found = _of(self._positionals[0], part) if self._positionals else []
        return found if found or part or self._positionals else self._of_options("-")

    def _of_options(self, part: str) -> list[tuple[str, str]]:
        """Options that were not given yet; of those with a short name the long one is enough."""
        repeats = (argparse._AppendAction,)
        return [
            (name, _help(action))
            for name, action in self._options.items()
            if name.startswith(part)
            and action.help != argparse.SUPPRESS
            and (action not in self._seen or isinstance(action, repeats))
            and (name.startswith("--") or len(action.option_strings) == 1 or name == part)
        ]


def _of(action: argparse.Action, part: str) -> list[tuple[str, str]]:
    if isinstance(action, argparse._SubParsersAction):
        told = {choice.dest: choice.help or "" for choice in action._choices_actions}
        return [(name, told.get(name, "")) for name in action.choices if name.startswith(part)]
    if action.choices is not None:
        return [(str(one), "") for one in action.choices if str(one).startswith(part)]
    values = (value for of in KINDS.get(kind_of(action), ()) for value in of())
    return [(value, "") for value in values if value in (FILES, FOLDERS) or value.startswith(part)]


def _help(action: argparse.Action) -> str:
    return " ".join((action.help or "").split())
