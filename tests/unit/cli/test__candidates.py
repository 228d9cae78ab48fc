from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.cli import VERBS, parser
from optikit.cli._candidates import FREE, KINDS, candidates, kind_of
from optikit.recipes import RECIPES
from tests.specs import small_plan


def found(*words: str) -> list[str]:
    return [value for value, _ in candidates(parser(), words)]


def actions(of: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.Action]]:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from actions(sub, f"{path} {name}")
        elif action.nargs != 0 and action.help != argparse.SUPPRESS:
            yield path, action


def test_every_value_of_the_command_line_is_of_a_known_kind() -> None:
    """A new option says by its metavar what it is: something to complete, or the user's own."""
    unknown = [
        f"{path} {action.option_strings or action.dest}: {kind_of(action)}"
        for path, action in actions(parser())
        if action.choices is None and kind_of(action) not in {*KINDS, *FREE}
    ]
    assert unknown == []
    used = {kind_of(action) for _, action in actions(parser())}
    assert (set(KINDS) | FREE) - used == set(), "and no kind is left over"


def test_verbs_with_their_help() -> None:
    assert found("") == list(VERBS)
    assert found("su") == ["submit"]
    told = dict(candidates(parser(), ["sub"]))
    assert "run a job" in told["submit"]
    actions = ["check", "sync", "trace", "index", "query", "push", "pull", "gc"]
    assert found("archive", "") == actions
    assert found("nosuch", "") == []


def test_options_that_were_not_given_yet() -> None:
    assert "--predict" in found("plan", "-")
    assert "--predict" not in found("plan", "--predict", "-")
    assert found("plan", "--pre") == ["--predict"]
    assert dict(candidates(parser(), ["plan", "--pre"]))["--predict"].startswith("also simulate")
    again = found("archive", "gc", "--state", "failed", "--st")
    assert again == ["--state"], "it may be repeated"
    assert "-o" not in found("init", "-"), "the long name is enough"
    assert found("init", "-o") == ["-o"]
    assert found("completion", "--w") == [], "what is not in the help is nobody's to type"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["submit", "--pool", ""], ["inline", "process", "ray"]),
        (["submit", "--pool", "p"], ["process"]),
        (["submit", "--pool=p"], ["--pool=process"]),
        (["submit", "--pool", "=", "p"], ["process"]),
        (["submit", "--pool", "="], ["inline", "process", "ray"]),
        (["init", "--engine", "v"], ["vllm"]),
        (["init", "--sku", "L"], ["L40S_1"]),
        (["export", "--to", "r"], ["rayjob"]),
        (["export", "last", "--to", "h"], ["helm-values"]),
        (["export", ""], [":files"]),
        (["benchmark", "--api", "c"], ["completions", "chat"]),
        (["benchmark", "--method", "ad"], ["adjusted"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["archive", "gc", "--state", "fa"], ["failed"]),
        (["submit", ""], [":files"]),
        (["serve", "--home", ""], [":folders"]),
        (["submit", "--id", ""], []),
        (["submit", "--detach", ""], [":files"]),
        (["submit", "--id", "x", "job.yaml", "f"], []),
        (["submit", "--", "-x"], [":files"]),
        (["list", "--s"], ["--state", "--since", "--server"]),
        (["list", "--state", "d"], ["damaged", "done"]),
        (["models", "add", ""], [":files"]),
    ],
)
def test_values(words: list[str], expected: list[str], optikit_home: Path) -> None:
    assert found(*words) == expected


def test_jobs_of_the_home_the_newest_first(optikit_home: Path) -> None:
    assert found("show", "") == []
    ids = [JobArchive.create(optikit_home, small_plan(), {}, f"job-{n}").job_id for n in (1, 2)]
    (optikit_home / "jobs" / ".trash").mkdir()
    assert found("show", "") == [*reversed(ids), "last"]
    assert found("show", "job-1") == ["job-1"]
    assert found("show", "--json", "l") == ["last"]
    assert found("compare", "job-1", "") == [*reversed(ids), "last"]
    assert found("compare", "job-1", "job-2", "j") == []
    assert found("compare", "job-1", "job-2", "")[0] == "--help", "what can still be said"
    assert found("archive", "check", "job-1", "job-2", "job-") == ["job-2", "job-1"]
    assert found("certificate", "show", "job-1") == ["job-1", ":files"]


def test_models_to_begin_with(optikit_home: Path) -> None:
    (optikit_home / "models" / "mine").mkdir(parents=True)
    assert found("init", "m") == ["mine", "mistral-small-24b", "mistral-small-3-24b", ":folders"]


def test_no_recipe_is_named_on_a_command_line() -> None:
    """Where one is some day, this room's names are a kind too."""
    assert "RECIPE" not in KINDS
    assert RECIPES.names()
