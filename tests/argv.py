"""Words that quoting goes wrong on, and how each system reads them back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_HARD = st.sampled_from(
    [
        *("", " ", "a b", "it's", '"', "\\", "\\n", "a\nb", "\t", ";", "#", "%", "%%", "%h", "%n"),
        *("$", "$$", "$HOME", "${HOME}", "$(HOME)", "$$(HOME)", "`id`", "!", "*", "~", "{{ .x }}"),
        *(
            "-",
            "--flag=a b",
            ": ",
            "- x",
            "yes",
            "null",
            "0x10",
            "1e3",
            "~/x",
            "é",
            "\x85",
            "\u2028",
        ),
        '--speculative-config={"method":"ngram","n":[1, 2],"s":"a\\"b $X %d"}',
    ]
)
WORDS = st.lists(st.one_of(_HARD, _TEXT), max_size=6)
VALUES = st.one_of(_HARD, _TEXT)


def expected(bundle: Bundle, model: str, host: str, settings: DeploySettings) -> list[str]:
    """The certified words behind the interpreter, with the places of the deployment."""
    words = list(bundle.facts.arguments[1:])
    assert (words[2], words[3]) == ("--model", "model")
    assert (words[6], words[8]) == ("--host", "--port")
    words[3], words[7], words[9] = model, host, str(settings.port)
    return words


def by_kubernetes(text: str, known: Mapping[str, str]) -> str:
    """What the kubelet makes of a word: ``$$`` is a dollar, ``$(NAME)`` a known variable."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return known.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


def by_compose(text: str) -> str:
    """What compose makes of a text: ``$$`` is a dollar; a name behind one would be a variable."""

    def one(found: re.Match[str]) -> str:
        assert found[0] == "$$", f"{text!r} is interpolated"
        return "$"

    return re.sub(r"\$\$|\$", one, text)


def by_systemd(line: str) -> list[str]:
    """The words of a line of a unit file: quotes, C escapes, specifiers."""
    words: list[str] = []
    rest = line
    while rest := rest.lstrip(" "):
        assert rest[0] == '"', "every word is quoted"
        found = re.match(r'"((?:[^"\\]|\\.)*)"(?= |$)', rest, re.DOTALL)
        assert found, f"{rest!r} is no quoted word"
        plain = re.sub(
            r"\\(?:x([0-9a-f]{2})|(.))",
            lambda m: chr(int(m[1], 16)) if m[1] else {"\\": "\\", '"': '"'}[m[2]],
            found[1],
        )
        assert "%" not in plain.replace("%%", ""), f"{plain!r} has a specifier"
        words.append(plain.replace("%%", "%"))
        rest = rest[found.end() :]
    return words


def of_container(container: Mapping[str, Any]) -> list[str]:
    """The argument list that the kubelet starts a container with, behind the interpreter."""
    known = {v["name"]: v.get("value", "secret") for v in container["env"]}
    words: Sequence[str] = [*container["command"], *container["args"]]
    return [by_kubernetes(word, known) for word in words][1:]


def variables_of(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables that the kubelet sets; those by reference are left out."""
    known: dict[str, str] = {}
    for variable in container["env"]:
        if "value" in variable:
            known[variable["name"]] = by_kubernetes(variable["value"], known)
    return known
