"""Words for readers that expand something: each comes out of them as it went in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from optikit.errors import BadInput

__all__ = ["dollars", "shell", "systemd", "untemplated"]


def dollars(word: str) -> str:
    """For Kubernetes, which puts ``$(NAME)`` in, and compose, which does ``$NAME`` and ``${NAME}``:
    both read ``$$`` as one dollar.

    >>> dollars("$(HOME)")
    '$$(HOME)'
    """
    return word.replace("$", "$$")


def shell(words: Sequence[str]) -> str:
    """A command for ``sh``, a flag and its value on each line."""
    quoted = [shlex.quote(word) for word in words]
    lines: list[str] = []
    for index, word in enumerate(quoted):
        value = index > 0 and words[index - 1].startswith("-") and not words[index].startswith("-")
        if value and "=" not in words[index - 1]:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return " \\\n    ".join(lines)


def systemd(word: str) -> str:
    r"""A word of a unit file, in double quotes; nothing of it is a specifier.

    >>> print(systemd('50% of "X"'))
    "50%% of \"X\""
    """
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    shown = (c if ord(c) >= 32 and ord(c) != 127 else f"\\x{ord(c):02x}" for c in text)
    return f'"{"".join(shown)}"'


def untemplated(word: str) -> str:
    """A value that a chart would run through Helm's templates.

    Raises:
        BadInput: it holds what they would take for theirs.
    """
    if "{{" in word:
        raise BadInput(f"{word!r:.80} holds '{{{{', which the chart would take for a template")
    return word
