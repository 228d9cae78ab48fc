"""The documents hold: links lead somewhere, references are complete, examples parse."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from optikit.api import Submitter
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.slo import Slo
from optikit.spec.space import FlagRange
from optikit.spec.workload import Length, Workload
from optikit.stores.traces import read_trace

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "examples", "src", "tests", "benchmarks", "scripts", "constraints", "deploy")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])
REFERENCE = ROOT / "docs" / "reference" / "job-spec.md"

FENCE = re.compile(r"^(```|~~~)(?P<info>[^\n]*)\n(?P<body>.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)(?: \"[^\"]*\")?\)")
SPAN = re.compile(r"`([^`\n]+)`")
ROW = re.compile(
    r"^\| `(?P<key>[a-z_.0-9]+)` \| (?P<default>.+?) \| (?P<unit>.*?) \| (?P<what>.+) \|$"
)


PLAIN = (FlagRange, Slo, Length)
"""Written as a list of texts and as a number; their other forms have tables of their own."""


def documents() -> list[Any]:
    return [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in DOCUMENTS]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """The anchors that a Markdown file has on GitHub: one a heading, numbered when repeated."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?)\s*#*$", prose(path), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def test_there_are_documents() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("document", documents())
def test_relative_links_and_anchors_resolve(document: Path) -> None:
    broken = []
    for target in LINK.findall(prose(document)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # another site: nothing here may depend on it
        where, _, anchor = target.partition("#")
        file = (document.parent / where).resolve() if where else document
        missing = not (file.exists() and file.is_relative_to(ROOT))
        unnamed = anchor and file.suffix == ".md" and (missing or anchor not in anchors(file))
        if missing or unnamed:
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", documents())
def test_paths_of_the_repository_that_are_named_exist(document: Path) -> None:
    named = [span for span in SPAN.findall(prose(document)) if span.startswith(FOLDERS)]
    paths = [span for span in named if re.fullmatch(r"[\w./-]+\.(py|md|yaml|txt)", span)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_benchmark_is_on_the_page_of_evidence() -> None:
    page = (ROOT / "docs" / "evidence.md").read_text()
    named = set(re.findall(r"benchmarks/(\w+\.py)", page))
    there = {path.name for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert named == there


@pytest.mark.parametrize("document", documents())
def test_job_specs_in_documents_parse(document: Path) -> None:
    for match in FENCE.finditer(document.read_text()):
        data = yaml.safe_load(match["body"]) if match["info"].strip() == "yaml" else None
        if isinstance(data, dict) and "compute" in data:
            OptimizationJob.parse(data, document.name)


def test_the_workloads_of_the_examples_parse() -> None:
    found = sorted((ROOT / "examples" / "workloads").glob("*.yaml"))
    assert len(found) >= 3
    for path in found:
        workload = Workload.parse(yaml.safe_load(path.read_text()), path.name)
        if workload.trace is not None:
            trace = read_trace(ROOT / workload.trace)
            assert workload.with_lengths_of(trace).total_tokens > 2


def test_the_example_of_the_readme_is_planned(
    optikit_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Plan] = []

    def plan_only(self: Submitter, job: OptimizationJob) -> None:
        plans.append(self.plan(job))

    monkeypatch.setattr(Submitter, "submit", plan_only)
    blocks = FENCE.finditer((ROOT / "README.md").read_text())
    (example,) = [match["body"] for match in blocks if match["info"].strip() == "python"]
    exec(compile(example, "README.md", "exec"), {})
    assert [plan.flow.name for plan in plans] == ["quantize_and_tune"]
    assert list(optikit_home.iterdir()) == [], "planning writes nothing"


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The spec that a field's annotation holds, None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if annotation in PLAIN else annotation
    inner = (model_of(part) for part in typing.get_args(annotation))
    return next((model for model in inner if model is not None), None)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, default) of every key with a value; PydanticUndefined where one must be given."""
    for name, field in model.model_fields.items():
        inner = model_of(field.annotation)
        if inner is None or field.default is None:
            yield prefix + name, field.get_default(call_default_factory=True)
        if inner is not None:
            yield from keys(inner, f"{prefix}{name}.")


def reference() -> dict[str, str]:
    """Key and default as the reference has them; a key that comes twice is an error."""
    rows = [match for line in REFERENCE.read_text().splitlines() if (match := ROW.match(line))]
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: row["default"] for row in rows}


def test_the_reference_has_every_key_of_a_job_spec_and_no_other() -> None:
    assert sorted(reference()) == sorted(key for key, _ in keys(OptimizationJob))


@pytest.mark.parametrize(
    ("key", "default"), [pytest.param(*k, id=k[0]) for k in keys(OptimizationJob)]
)
def test_the_reference_has_the_default(key: str, default: Any) -> None:
    written = reference()[key]
    if default is PydanticUndefined:
        assert written == "required"
    else:
        plain = TypeAdapter(Any).dump_python(default, mode="json")
        assert yaml.safe_load(written.strip("`")) == plain
