"""The commands that README and the documents show, and why a test does not run one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (
    *("README.md", "CONTRIBUTING.md", "examples/plugin_recipe/README.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)
_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_SHELLS = {"console", "bash", "sh", "shell"}


@dataclass(frozen=True)
class Command:
    """One command of a page, continuation lines joined, without its comment."""

    page: str
    section: str
    """The heading above it."""
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}: {self.text}"


class Why(Enum):
    """The only reasons for which no test runs a command as it stands."""

    SETS_UP = "it sets a machine up, which continuous integration does (.ci/run)"
    CLUSTER = "it needs a cluster: tests/integration/test_cluster_submit.py, tests/unit/exports"
    SERVICE = "it needs a service of yours: tests/integration/test_service.py"
    SERVER = "it needs a server of yours: test_benchmark_endpoint.py, test_endpoint_job.py"
    RECEIVER = "it needs a receiver of yours: test_traces_otlp.py, test_mlflow_server.py"
    STORE = "it needs a bucket of yours: tests/integration/test_elsewhere.py"
    REGISTRY = "it needs versions that were published: test_model_registry.py"
    DATABASE = "it needs a database of yours: tests/integration/test_index_postgres.py"
    ENGINE = "minutes on the real engine: tests/integration/test_newcomer.py"
    JOB = "minutes on the real engine: tests/integration/test_job.py runs README's job"
    PLUGIN = "it is about a plug-in that is not installed: tests/test_plugin_docs.py"
    HOURS = "hours on the real engine; the same verbs run in tests/integration/test_newcomer.py"


NOT_RUN: dict[str, dict[str, Why]] = {
    "README.md": {
        "make ": Why.SETS_UP,
        "optikit submit examples/jobs/quickstart.yaml": Why.JOB,
        "optikit benchmark --endpoint": Why.SERVER,
    },
    "CONTRIBUTING.md": {"PIP_EXTRA_INDEX_URL=": Why.SETS_UP, ".venv/bin/uv ": Why.SETS_UP},
    "docs/quickstart.md": {"make ": Why.SETS_UP},
    "docs/howto/add-a-tuner.md": {"python -m pytest": Why.PLUGIN},
    "docs/howto/ask-across-jobs.md": {
        "export ": Why.DATABASE,
        "optikit archive index --to": Why.DATABASE,
        "optikit serve": Why.DATABASE,
    },
    "docs/howto/bring-your-slo.md": {"optikit benchmark --endpoint": Why.SERVER},
    "docs/howto/deploy-a-bundle.md": {
        "optikit export last --to kubernetes": Why.ENGINE,
        "kubectl ": Why.CLUSTER,
        "sha256sum BUNDLE/": Why.ENGINE,
    },
    "docs/howto/run-on-a-ray-cluster.md": {"": Why.CLUSTER},
    "docs/howto/run-the-service.md": {"": Why.SERVICE},
    "docs/howto/use-an-mlflow-server.md": {"export ": Why.RECEIVER},
    "docs/howto/watch-it.md": {"export ": Why.RECEIVER, "optikit archive trace last": Why.RECEIVER},
    "docs/howto/measure-an-endpoint.md": {
        "optikit submit": Why.SERVER,
        "optikit certificate": Why.SERVER,
    },
    "docs/howto/models-and-data-elsewhere.md": {"optikit archive pu": Why.STORE},
    "docs/howto/promote-and-roll-back.md": {"optikit ": Why.REGISTRY},
    "docs/howto/serve-with-sglang.md": {"": Why.SETS_UP},
    "docs/reference/benchmark.md": {"optikit benchmark --endpoint": Why.SERVER},
}
"""Page -> beginning of a command -> why it is not run. The longest beginning that fits counts."""
RUN_ALL_THE_SAME = {"optikit archive trace last --json"}
"""Commands that a beginning above fits, and that run."""
NEWCOMER = "docs/howto/start-from-a-model-folder.md"
"""Its sections down to a server are run by tests/integration/test_newcomer.py."""


def commands(page: str) -> list[Command]:
    """All commands of a page's blocks, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        kind = fence["info"].strip()
        if kind in _SHELLS:
            headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text[: fence.start()]), re.MULTILINE)
            section = headings[-1] if headings else ""
            lines = _lines(fence["body"], prompt=kind == "console")
            found += [Command(page, section, line) for line in lines]
    return found


def _lines(body: str, prompt: bool) -> Iterator[str]:
    """The commands of a block; of a console only what stands behind a prompt."""
    joined = re.sub(r"[ \t]*(?:#[^\n]*)?\\\n\s*", " ", body)
    for line in joined.splitlines():
        if prompt and not line.startswith("$ "):
            continue  # what the command answers
        bare = _without_comment(line.removeprefix("$ ")).strip()
        if bare:
            yield bare


def _without_comment(line: str) -> str:
    """The line up to a ``#`` outside of quotes that begins a word."""
    quote = ""
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at]
    return line


def why_not(command: Command) -> Why | None:
    """The declared reason for which no test runs it; None: a test does."""
    if command.page == NEWCOMER:
        return Why.HOURS if command.section == "For good" else Why.ENGINE
    if command.text in RUN_ALL_THE_SAME:
        return None
    fitting = [b for b in NOT_RUN.get(command.page, {}) if command.text.startswith(b)]
    return NOT_RUN[command.page][max(fitting, key=len)] if fitting else None


def calls(command: str) -> list[list[str]]:
    """The words behind each ``optikit`` that a command line calls.

    >>> calls("A=$(optikit show last --json | cat); optikit list")
    [['show', 'last', '--json'], ['list']]
    """
    words = shlex.split(re.sub(r"\$\(|\)\s*$|[;|&]+", " ; ", command))
    found: list[list[str]] = []
    inside = False
    for word in words:
        if word == ";":
            inside = False
        elif word == "optikit" and not inside:
            inside = True
            found.append([])
        elif inside:
            found[-1].append(word)
    return found
