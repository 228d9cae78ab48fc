"""What docs/architecture.md promises of the code's shape, beside the import contracts."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import optikit
from optikit import errors
from optikit.plugins import Room

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "optikit"
CODE = tuple(
    ROOT / name for name in ("src", "tests", "benchmarks", "scripts", "examples", "deploy")
)

MAX_LINES = 400
BANNED = {"manager", "handler", "helper", "util", "utility", "common", "misc", "controller"}
BROAD_EXCEPTS_IN = ("runner.py", "pools/")
HEAVY = {
    "fastapi", "lm_eval", "llmcompressor", "matplotlib", "mlflow", "opentelemetry", "optuna",
    "prometheus_client", "ray", "sqlalchemy", "starlette", "torch", "transformers", "uvicorn",
    "vllm",
}  # fmt: skip
LIGHT = {"numpy", "pydantic", "rich", "scipy", "yaml"}
"""Third-party libraries that any room may use in any file."""
PUBLIC = [
    "ComputeConfig",
    "DatasetStorage",
    "Job",
    "JobResult",
    "ModelStorage",
    "OptikitError",
    "OptimizationJob",
    "ResourceSKU",
    "Slo",
    "Submitter",
    "Workload",
    "__version__",
]
ROOMS = [
    "engines", "evaluators", "exports", "flows", "loadgen", "pools", "recipes", "runners",
    "sources", "stages", "trackers", "tuners",
]  # fmt: skip


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def trees(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """Path under ``folder`` and syntax tree of each file."""
    for path in python_files(folder):
        yield path.relative_to(folder).as_posix(), ast.parse(path.read_text(), str(path))


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case and singular."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    singular = (re.sub(r"ies$", "y", part.lower()).removesuffix("s") for part in parts)
    return {*singular, *(part.lower() for part in parts)}


def rooms() -> dict[str, Room[object]]:
    found = {}
    for path in sorted(SRC.glob("*/__init__.py")):
        for value in vars(import_module(f"optikit.{path.parent.name}")).values():
            if isinstance(value, Room):
                found[path.parent.name] = value
    return found


def plugins() -> list[tuple[str, str]]:
    """(room, plug-in) of everything that lies in the source tree."""
    return [(name, plugin) for name, room in rooms().items() for plugin in room.names()]


def in_a_new_interpreter(code: str) -> list[str]:
    """Top-level names of ``sys.modules`` after ``code`` has run."""
    ending = (
        "\nimport json, sys\nprint(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + ending], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("RunManager", {"manager"}),
        ("http_utils", {"util"}),
        ("utilities", {"utility"}),
        ("HTTPHandler", {"handler"}),
        ("ServingConfig", set()),
        ("commonsense_items", set()),
    ],
)
def test_banned_words_are_found_in_names(name: str, found: set[str]) -> None:
    assert words(name) & BANNED == found


def test_no_file_is_too_long() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in python_files(*CODE)
    }
    assert lengths
    assert {path: count for path, count in lengths.items() if count > MAX_LINES} == {}


def test_no_banned_name_in_a_path_or_class() -> None:
    named = [(path.relative_to(ROOT).as_posix(), path.stem) for path in python_files(*CODE)]
    named += [(folder.name, folder.name) for folder in SRC.rglob("*") if folder.is_dir()]
    for root in CODE:
        for path, tree in trees(root):
            classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
            named += [(f"{root.name}/{path}: class {name}", name) for name in classes]
    assert [where for where, name in named if words(name) & BANNED] == []


def test_public_names_are_pinned() -> None:
    assert optikit.__all__ == PUBLIC
    assert all(getattr(optikit, name) is not None for name in PUBLIC)


def test_every_room_is_known() -> None:
    assert sorted(rooms()) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_is_empty(room: str) -> None:
    assert rooms()[room].names()


@pytest.mark.parametrize(("room", "plugin"), plugins())
def test_a_plugin_module_exports_its_rooms_object(room: str, plugin: str) -> None:
    module = import_module(f"optikit.{room}.{plugin}")
    exports = {known.export for known in rooms().values()}
    own = rooms()[room].export
    defined = {
        node.id
        for statement in ast.parse(Path(str(module.__file__)).read_text()).body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert defined & exports == {own}
    declared = getattr(module, own)
    named = getattr(declared, "facts", declared)
    assert named.name == plugin, "the file's name is the plug-in's name"


def test_listing_and_importing_plugins_brings_no_heavy_library() -> None:
    names = [f"optikit.{room}.{plugin}" for room, plugin in plugins()]
    code = f"""
import importlib, optikit
for name in optikit.__all__:
    getattr(optikit, name)
for name in {names!r}:
    importlib.import_module(name)
"""
    assert HEAVY & set(in_a_new_interpreter(code)) == set()


def test_planning_brings_no_heavy_library() -> None:
    code = """
from pathlib import Path
from optikit.api import Submitter, load_job
Submitter().plan(load_job(Path("examples/jobs/llama-70b.yaml")))
"""
    assert HEAVY & set(in_a_new_interpreter(code)) == set()


def test_building_the_command_line_brings_only_the_standard_library() -> None:
    loaded = set(in_a_new_interpreter("from optikit import cli; cli.parser()"))
    assert loaded & (HEAVY | LIGHT | {"aiohttp", "pyarrow"}) == set()


def test_a_library_is_imported_in_one_file_of_a_room_or_in_an_adapter() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees(SRC):
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            for name in names:
                library = name.partition(".")[0]
                # a large one may have several adapters: ray.py, ray_tune.py
                one = f"adapters/{library}" if path.startswith(f"adapters/{library}") else path
                users[library].add(one)
    if all(path.startswith("testing/") for path in users["pytest"]):
        del users["pytest"]  # each contract suite is a file of tests
    ours = {*LIGHT, *sys.stdlib_module_names, "optikit"}
    third_party = {name: sorted(paths) for name, paths in users.items() if name not in ours}
    assert third_party, "the rule found nothing to look at"
    assert {name: paths for name, paths in third_party.items() if len(paths) > 1} == {}


def is_broad(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(is_broad(part) for part in node.elts)
    return node is None or ast.unparse(node) in {"Exception", "BaseException"}


def test_broad_excepts_are_only_where_a_strangers_failure_becomes_a_record() -> None:
    found = []
    for path, tree in trees(SRC):
        for node in ast.walk(tree):
            broad = isinstance(node, ast.ExceptHandler) and is_broad(node.type)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                broad = any(is_broad(argument) for argument in node.args)
            if broad and not path.startswith(BROAD_EXCEPTS_IN):
                found.append(f"{path}:{getattr(node, 'lineno', 0)}")
    assert found == []


def drawn_tree() -> list[tuple[str, str, str]]:
    """(class, parent, remark) as the docstring of errors.py draws them."""
    drawn: list[tuple[str, str, str]] = []
    line_of = re.compile(r"^    (?P<indent>(?:\|  |   )*)(?:[|`]- )?(?P<name>\w+) +(?P<remark>.+)$")
    above: list[str] = []
    for line in (errors.__doc__ or "").partition("::")[2].splitlines():
        if match := line_of.match(line):
            depth = len(match["indent"]) // 3 + ("- " in line[:20])
            above = above[:depth]
            drawn.append((match["name"], above[-1] if above else "Exception", match["remark"]))
            above.append(match["name"])
    return drawn


def test_the_error_tree_is_drawn_as_it_is() -> None:
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    real = {(name, value.__bases__[0].__name__) for name, value in classes.items()}
    assert {(name, parent) for name, parent, _ in drawn_tree()} == real
    assert len(drawn_tree()) == len(real)
    assert set(classes) == set(errors.__all__) - {"nearest"}


def test_the_drawn_exit_codes_are_the_real_ones() -> None:
    said = {name: re.match(r"exit (\d+)", remark) for name, _, remark in drawn_tree()}
    codes = {name: int(match[1]) for name, match in said.items() if match}
    assert codes
    assert {name: getattr(errors, name).exit_code for name in codes} == codes
