"""Every command of the documents is one that there is, and runs in a test or says why not."""

from __future__ import annotations

import argparse
import re

import pytest

from optikit.cli import parser
from tests.commands import NOT_RUN, PAGES, ROOT, RUN_ALL_THE_SAME, Command, Why, calls, commands

ALL = [command for page in PAGES for command in commands(page)]
_FENCE = re.compile(r"^(```|~~~)[^\n]*\n.*?^\1\s*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(optikit [^`]+)`")
PARSER = parser()


def test_there_are_commands() -> None:
    assert len(ALL) > 60
    assert {"README.md", "docs/quickstart.md", "docs/howto/watch-it.md"} <= {c.page for c in ALL}
    assert Command("README.md", "Two commands on a fresh machine", "make demo") in ALL


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.id)
def test_every_command_of_a_block_parses(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    if re.match(r"(\w+=\S+ )*optikit ", command.text):
        assert calls(command.text), "its call was not found"
    for words in calls(command.text):
        try:
            PARSER.parse_args(words)
        except SystemExit:
            pytest.fail(f"optikit {' '.join(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_prose_has_its_verb_and_options(page: str) -> None:
    """A span may leave arguments out; what it names must be there."""
    wrong = []
    for span in _SPAN.findall(_FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))):
        at, words = PARSER, span.split()[1:]
        while words and (below := verbs(at)):
            if words[0].isupper() or words[0].startswith("-"):
                break
            if words[0] not in below:
                wrong.append(f"{span}: no verb {words[0]}")
                break
            at, words = below[words[0]], words[1:]
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if unknown := options - set(at._option_string_actions):
            wrong.append(f"{span}: no option {', '.join(sorted(unknown))}")
    assert wrong == []


def verbs(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs right below a parser."""
    inner = [a.choices for a in of._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(inner[0]) if inner else {}


def test_every_declared_reason_is_about_a_command_that_is_there() -> None:
    stale = [
        f"{page}: {beginning}"
        for page, beginnings in NOT_RUN.items()
        for beginning in beginnings
        if not any(c.page == page and c.text.startswith(beginning) for c in ALL)
    ]
    assert stale == []
    assert {c.text for c in ALL} >= RUN_ALL_THE_SAME


def test_the_tests_that_reasons_name_are_there() -> None:
    for why in Why:
        for name in re.findall(r"[\w/.]*test_\w+\.py|tests/unit/\w+|\.ci/run", why.value):
            path = name if "/" in name else f"tests/integration/{name}"
            assert (ROOT / path).exists(), f"{why.name} names {name}"
