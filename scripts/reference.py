"""Write the pages of the reference that are made from the code: what `make reference` runs.

Command line, errors, environment variables, Python API and plug-ins. The committed pages are
compared with what this writes by ``tests/test_reference.py``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import optikit
from optikit import errors
from optikit.cli import parser
from optikit.plugins import Room

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "optikit"
REFERENCE = ROOT / "docs" / "reference"
COMMAND = "python scripts/reference.py"
_NOTE = f"<!-- Written by `{COMMAND}` from the code: change the code, then run it again. -->"

VARIABLES = {
    "OPTIKIT_HOME": (
        "`.optikit` in the working directory; on a cluster `~/.optikit`",
        "Where jobs, models, measurements and bundles lie.",
    ),
    "OPTIKIT_ENGINE_PYTHON": (
        "`.venv-engine` beside the main environment, then in the working directory",
        "Interpreter of the environment that has the engine; `serve.sh` of a bundle reads it too.",
    ),
    "OPTIKIT_SGLANG_PYTHON": (
        "`.venv-sglang`, in the same places",
        "The same for [SGLang](../howto/serve-with-sglang.md).",
    ),
    "OPTIKIT_LOG_FORMAT": (
        "`text`",
        "`json`: [logs](../howto/watch-it.md) of drivers, workers and engines as lines of JSON.",
    ),
    "OPTIKIT_ADDRESS": (
        "none: this machine",
        "Dashboard of a [Ray cluster](../howto/run-on-a-ray-cluster.md): what `--address` says.",
    ),
    "OPTIKIT_SERVER": (
        "none: this machine",
        "URL of a [service](../howto/run-the-service.md): what `--server` says.",
    ),
    "OPTIKIT_TOKEN": (
        "what `optikit login` kept",
        "Token for the service. Never written into an archive.",
    ),
    "OPTIKIT_MLFLOW_URI": (
        "`mlflow.db` of the home",
        "An [MLflow server](../howto/use-an-mlflow-server.md) that jobs are told to.",
    ),
    "OPTIKIT_INDEX_URL": (
        "none",
        "A database that jobs bring [their rows](../howto/ask-across-jobs.md) to, or `default`.",
    ),
    "OPTIKIT_TRUST_REMOTE_CODE": (
        "not set",
        "`1`: models may bring [code](security.md#a-model-that-runs-code), where the job asks so.",
    ),
    "OPTIKIT_DISK_PATIENCE_S": ("120", "Seconds that a write waits for a [full disk](faults.md)."),
    "OPTIKIT_SOURCE_PATIENCE_S": (
        "120",
        "Seconds that a transfer waits for a [store](../howto/models-and-data-elsewhere.md) "
        "that is away.",
    ),
    "OPTIKIT_CACHE_MAX": (
        "no bound",
        "Most that is kept of what was fetched from [elsewhere]"
        "(../howto/models-and-data-elsewhere.md), such as `200GB`.",
    ),
    "OPTIKIT_HDFS_KERBEROS": ("not set", "`1`: `webhdfs://` asks with the environment's ticket."),
    "OPTIKIT_HDFS_TLS": ("not set", "`1`: `webhdfs://` speaks HTTPS."),
}
"""Variable -> default, meaning. A test holds it against what the sources read."""
EXPORTED = {
    "OPTIKIT_COMMAND": "the whole command, quoted for `eval`",
    "OPTIKIT_CERTIFIED_ARGUMENTS": "the arguments as they were measured, quoted",
    "OPTIKIT_IMAGE": "the container image of the version that was measured",
    "OPTIKIT_MODEL": "the model's folder",
    "OPTIKIT_SERVED_NAME": "what requests call the model",
}
"""What `optikit export --to env` writes for a script."""


def main() -> int:
    """Write every page that is not as it should be."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: written")
    return 0


def pages() -> dict[Path, str]:
    """Every generated page, by its path."""
    made: dict[str, Callable[[], Iterator[str]]] = {
        "cli.md": cli,
        "errors.md": error_tree,
        "environment.md": environment,
        "python-api.md": python_api,
        "plug-ins.md": plug_ins,
    }
    return {REFERENCE / name: _joined(page()) for name, page in made.items()}


def _joined(lines: Iterator[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join([_NOTE, "", *lines])).rstrip("\n") + "\n"


def cell(text: str) -> str:
    """A text within a table: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def marked(text: str) -> str:
    """A docstring's literals, as Markdown has them."""
    return text.replace("``", "`")


def cli() -> Iterator[str]:
    """Every verb with its arguments and options."""
    top = parser()
    yield from ("# Command line", "")
    yield f"{top.description} `optikit --version` says which OptiKIT it is."
    yield ""
    yield f"Exit codes: {str(top.epilog).removeprefix('exit codes: ')}"
    yield "([which error has which](errors.md)). [Variables](environment.md) take the place of some"
    yield "options."
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                yield from _verb(f"optikit {name}", verb, 2)


def _verb(name: str, verb: argparse.ArgumentParser, depth: int) -> Iterator[str]:
    inner = [a for a in verb._actions if isinstance(a, argparse._SubParsersAction)]
    shown = [
        action
        for action in verb._actions
        if action.help != argparse.SUPPRESS and action.dest != "help" and action not in inner
    ]
    words = [_word(action) for action in shown if not action.option_strings or action.required]
    yield from ("", f"{'#' * depth} {name}", "")
    about, _, detail = (verb.description or "").partition("\n\n")
    yield f"{about[:1].upper()}{about[1:]}."
    if detail:
        yield from ("", "```text", detail.rstrip(), "```")
    if not inner:
        yield from ("", f"`{' '.join([name, *words, '[OPTIONS]'])}`" if shown else f"`{name}`")
    if shown:
        yield from ("", "| argument | meaning |", "|---|---|")
        formatter = argparse.HelpFormatter("optikit")
        for action in shown:
            said = formatter._expand_help(action) if action.help else ""
            yield f"| `{cell(', '.join(_forms(action)))}` | {cell(said or _plain(action))} |"
    for group in inner:
        for word, sub in group.choices.items():
            about = next((c.help or "" for c in group._choices_actions if c.dest == word), "")
            sub.description = sub.description or about
            yield from _verb(f"{name} {word}", sub, depth + 1)


def _plain(action: argparse.Action) -> str:
    """Where the code says nothing of it."""
    if "--json" in action.option_strings:
        return "print as JSON"
    bare = not action.option_strings and action.nargs not in ("?", "*")
    return "required" if action.required or bare else f"default: {action.default}"


def _forms(action: argparse.Action) -> list[str]:
    """``-o FILE, --output FILE`` as one would write it."""
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return [f"{form}{value}" for form in action.option_strings] or [_word(action)]


def _word(action: argparse.Action) -> str:
    if action.option_strings:
        return f"{action.option_strings[-1]} {_value(action)}"
    word = _value(action)
    return {"*": f"[{word} ...]", "+": f"{word} ...", "?": f"[{word}]"}.get(str(action.nargs), word)


def _value(action: argparse.Action) -> str:
    if action.metavar:
        return str(action.metavar)
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def error_tree() -> Iterator[str]:
    """The tree, and every class with its exit code."""
    yield from ("# Errors", "")
    yield "What OptiKIT raises on purpose: one message that says what was asked, what was found"
    yield "and what to do next. The command line prints it and ends with the class's exit code."
    yield "A missed SLO and a lost quality gate are results with exit code 3, not errors."
    yield ""
    tree = inspect.getdoc(errors) or ""
    yield from ("```text", textwrap.dedent(tree.split("::\n\n")[1].split("\n\nAll")[0]), "```")
    yield from ("", "| error | exit code | what happened |", "|---|---|---|")
    for name in errors.__all__:
        kind = getattr(errors, name)
        if inspect.isclass(kind) and issubclass(kind, errors.OptikitError):
            about = (inspect.getdoc(kind) or "").split("\n\n")[0]
            yield f"| `{name}` | {kind.exit_code} | {cell(marked(about))} |"
    yield ""
    yield "They live in `optikit.errors`; `optikit.OptikitError` is the base of all. All pickle."


def environment() -> Iterator[str]:
    """Variables that OptiKIT reads, and those of its libraries."""
    read = variables_in_source()
    yield "# Environment variables"
    yield from ("", "| variable | default | meaning |", "|---|---|---|")
    for name in sorted(read & set(VARIABLES)):  # a test asks for those that are not described
        default, meaning = VARIABLES[name]
        yield f"| `{name}` | {default} | {meaning} |"
    yield ""
    yield "`optikit export JOB --to env` writes these for a script:\n"
    yield from ("| variable | what it holds |", "|---|---|")
    for name in sorted(read & set(EXPORTED)):
        yield f"| `{name}` | {EXPORTED[name]} |"
    yield ""
    yield "Libraries read their own: `OTEL_*` for [traces](../howto/watch-it.md), `AWS_*`, `HF_*`"
    yield "and `HADOOP_USER_NAME` for [addresses](../howto/models-and-data-elsewhere.md),"
    yield "`MLFLOW_*` for the"
    yield "[tracker](../howto/use-an-mlflow-server.md), `RAY_ADDRESS` on a cluster,"
    yield "`CUDA_VISIBLE_DEVICES` for the devices that a job may use, and `VLLM_*` for the engine."


def variables_in_source() -> set[str]:
    """Every ``OPTIKIT_*`` that the sources name."""
    texts = (path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    return {name for text in texts for name in re.findall(r"\bOPTIKIT_[A-Z_]+\b", text)} - {
        "OPTIKIT_"
    }


def python_api() -> Iterator[str]:
    """The public names, with signatures and what their docstrings say."""
    yield from ("# Python API", "")
    yield "What `from optikit import ...` gives. Everything else may change without notice. Errors"
    yield "are on [a page of their own](errors.md)."
    for name in optikit.__all__:
        found = getattr(optikit, name)
        if not inspect.isclass(found):
            continue
        yield from ("", f"## {name}", "")
        if issubclass(found, BaseModel):
            yield from _fields(name, found)
        elif hasattr(found, "__members__"):
            yield from (*_doc(found), "", "`" + "`, `".join(found.__members__) + "`")
        else:
            yield from _class(name, found)


def _fields(name: str, model: type[BaseModel]) -> Iterator[str]:
    """A spec: frozen data, its keys as a call."""
    yield "```python"
    yield f"{name}("
    words = {k: v for kind in reversed(model.__mro__) for k, v in _annotations(kind).items()}
    for key, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        told = "" if default is PydanticUndefined else " = ..."
        yield f"    {key}: {words[key]}{told},"
    yield ")"
    yield "```"
    yield ""
    yield from _doc(model)
    yield from _methods(name, model, own=True)


def _annotations(kind: type) -> dict[str, str]:
    """As the code has them; pydantic's own are left out."""
    return (
        dict(vars(kind).get("__annotations__", {})) if kind.__module__.startswith("optikit") else {}
    )


def _class(name: str, kind: type) -> Iterator[str]:
    init = vars(kind).get("__init__")
    if init is not None:
        yield from ("```python", f"{name}{_signature(init)}", "```", "")
    yield from _doc(kind)
    if init is not None and init.__doc__:
        yield from ("", *_prose(inspect.cleandoc(init.__doc__)))
    yield from _methods(name, kind, own=False)


def _methods(name: str, kind: type, own: bool) -> Iterator[str]:
    """Public methods and properties with a docstring; ``own``: not the inherited ones."""
    for key, value in sorted(vars(kind).items() if own else inspect.getmembers_static(kind)):
        plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if key.startswith(("_", "model_")) or not inspect.isfunction(plain) or not plain.__doc__:
            continue
        if not plain.__module__.startswith("optikit"):
            continue
        call = "" if isinstance(value, property) else _signature(plain)
        yield from ("", f"### {name}.{key}", "", "```python", f"{name}.{key}{call}", "```", "")
        yield from _prose(inspect.cleandoc(plain.__doc__))


def _signature(function: Any) -> str:
    """Without ``self``, annotations as the code has them; a line a parameter where it is long."""
    found = inspect.signature(function)
    parts: list[str] = []
    for name, one in found.parameters.items():
        if name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(one.kind.name, "")
        word = stars + name
        word += "" if one.annotation is one.empty else f": {one.annotation}"
        parts.append(word if one.default is one.empty else f"{word} = {one.default!r}")
    back = "" if found.return_annotation in (found.empty, "None") else found.return_annotation
    arrow = f" -> {back}" if back else ""
    short = f"({', '.join(parts)}){arrow}"
    return short if len(short) <= 80 else "(\n    " + ",\n    ".join(parts) + f",\n){arrow}"


def _doc(found: Any) -> list[str]:
    return list(_prose(inspect.getdoc(found) or ""))


def _prose(doc: str) -> Iterator[str]:
    """A docstring as Markdown: its sections become lists, its doctests code."""
    for block in re.split(r"\n{2,}", marked(doc).strip()):
        head, _, rest = block.partition("\n")
        if block.startswith(">>> "):
            yield from ("```python", block, "```")
        elif re.fullmatch(r"(Args|Raises|Returns):", head):
            yield from (head, "", *_listed(rest))
        else:
            yield block
        yield ""


def _listed(text: str) -> Iterator[str]:
    """``name: what it is`` a line, what is indented further belongs to the line before."""
    for line in textwrap.dedent(text).splitlines():
        word, colon, rest = line.partition(": ")
        if line.startswith(" "):
            yield f"  {line.strip()}"
        else:
            yield f"- `{word}`: {rest}" if colon else f"- {line}"


def plug_ins() -> Iterator[str]:
    """The rooms, how each is joined, and what stands in it."""
    yield from ("# Plug-ins", "")
    yield "A plug-in is one file of a room that exports one object; the file name is its name. An"
    yield "installed package adds more through an entry point of the room's group. A wrong name"
    yield "answers with the nearest known ones ([why so](../architecture.md))."
    for room in rooms():
        folder = SOURCE / room.package.split(".")[1]
        guide = next(REFERENCE.parent.glob(f"howto/add-a*-{room.kind}.md"), None)
        more = f" [How to add one](../howto/{guide.name})." if guide else ""
        yield from ("", f"## {folder.name}", "")
        yield f"Entry point group `{room.package}`, exported as `{room.export}`.{more}"
        yield from ("", "| name | what it is |", "|---|---|")
        for name in room.names():
            file = folder / f"{name}.py"
            if file.exists():  # not what other packages brought to this environment
                about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
                yield f"| `{name}` | {cell(marked(about.split(chr(10) * 2)[0]))} |"


def rooms() -> list[Room[Any]]:
    """Every room there is, by its package's name."""
    found = []
    for module in pkgutil.iter_modules([str(SOURCE)]):
        if module.ispkg:
            package = importlib.import_module(f"optikit.{module.name}")
            found += [value for value in vars(package).values() if isinstance(value, Room)]
    return found


if __name__ == "__main__":
    sys.exit(main())
