import json
import struct
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from optikit.errors import BadInput, DatasetError, UnknownName
from optikit.flows import FLOWS
from optikit.pools.base import Resources
from optikit.spec.job import OptimizationJob
from optikit.spec.permit import ANYTHING, Permit
from optikit.spec.plan import Option, Plan
from optikit.stages.base import Inputs, Tools
from optikit.stages.fetch import STAGE
from optikit.stores.base import Arrival
from optikit.stores.file import FileModelStore


class Pool:
    """Runs a task at once."""

    def submit(self, task: Callable[..., Any], *args: Any, resources: Resources) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(task(*args))
        return future


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a model"
    path.mkdir()
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"a")
    (path / "config.json").write_text("{}")
    (path / "LICENSE").write_text("Apache License\n")
    return path


class Elsewhere:
    """Stands for what brings addresses here; the real one is tested with real servers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folders: dict[str, Path] = {}
        self.asked: list[tuple[str, Permit]] = []

    def send(self, folder: Path, text: str, permit: Permit = ANYTHING) -> str:
        raise AssertionError("fetch sends nothing")

    def bring(
        self,
        text: str,
        kind: str,
        permit: Permit = ANYTHING,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Arrival:
        self.asked.append((text, permit))
        progress(1, 2)
        store = FileModelStore(self.home)
        take = store.take if kind == "model" else store.take_dataset
        return Arrival(take(self.folders[text]), f"{text}@pinned", 5, 1.0)


@dataclass
class Journal:
    """Time enough, and nothing kept."""

    home: Path
    job_id: str = "job-1"
    events: list[str] = field(default_factory=list)

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append(f"{kind} {facts.get('text', '')}")

    def remaining_s(self) -> float:
        return 1e6


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    nothing = cast(Any, None)
    return Tools(
        journal=cast(Any, Journal(tmp_path / "home")),
        pool=Pool(),
        engine=nothing,
        generator=nothing,
        evaluator=nothing,
        logprobs=nothing,
        recipes={},
        tuner=nothing,
        runner=nothing,
        models=FileModelStore(tmp_path / "home"),
        remote=Elsewhere(tmp_path / "home"),
        baselines=nothing,
        read_texts=nothing,
        tracker=nothing,
    )


def plan(samples: int = 0, **spec: Any) -> Plan:
    """Only what fetch reads of a plan."""
    job = OptimizationJob.parse({"model": {"name": "m"}, "compute": {"sku": "CPU_2"}, **spec})
    option = cast(Any, Option).model_construct(calibration_samples=samples)
    return cast(
        Plan,
        cast(Any, Plan).model_construct(job=job, options=(option,), flow=FLOWS.load(job.flow)),
    )


def test_a_registered_model_is_fetched_by_content(tools: Tools, folder: Path) -> None:
    registered = tools.models.add(folder, "m", "1")
    record = STAGE.run(tools, Inputs(), plan(), "digest")
    assert record.model.digest == registered.digest
    assert record.model.path == registered.path
    assert record.licence == "Apache License"
    assert record.dataset is None
    assert record.inputs_digest == "digest"


def test_a_folder_is_fetched_by_its_uri(tools: Tools, folder: Path) -> None:
    spec = plan(model={"name": "m", "uri": folder.as_uri()})
    record = STAGE.run(tools, Inputs(), spec, "d")
    assert (Path(record.model.path) / "config.json").is_file()
    assert record.model.path != str(folder)


def test_an_unregistered_model_names_the_command(tools: Tools) -> None:
    with pytest.raises(UnknownName, match="optikit models add PATH --name m --version 1"):
        STAGE.run(tools, Inputs(), plan(), "d")


def test_a_dataset_is_taken_where_something_reads_it(
    tools: Tools, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.models.add(folder, "m", "1")
    monkeypatch.chdir(tmp_path)
    spec: dict[str, Any] = {"dataset": {"path": "data"}}
    assert STAGE.run(tools, Inputs(), plan(0, flow="benchmark", **spec), "d").dataset is None
    shipped = {"quality": {"divergence_text": "shipped"}, **spec}
    assert STAGE.run(tools, Inputs(), plan(0, **shipped), "d").dataset is None
    with pytest.raises(DatasetError, match=f"no dataset at {tmp_path}/data"):
        STAGE.run(tools, Inputs(), plan(0, **spec), "d")
    with pytest.raises(DatasetError, match=f"no dataset at {tmp_path}/data"):
        STAGE.run(tools, Inputs(), plan(8, **spec), "d")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"text": "x"}\n')
    dataset = STAGE.run(tools, Inputs(), plan(8, **spec), "d").dataset
    assert dataset is not None
    assert dataset.kind == "dataset"
    assert [p.name for p in Path(dataset.path).iterdir()] == ["a.jsonl"]


def test_a_registered_model_that_was_changed_is_refused(tools: Tools, folder: Path) -> None:
    registered = tools.models.add(folder, "m", "1")
    config = Path(registered.path) / "config.json"
    config.chmod(0o644)
    config.write_text('{"changed": 1}')
    with pytest.raises(BadInput, match="was changed after it was stored"):
        STAGE.run(tools, Inputs(), plan(), "d")


def test_what_lies_elsewhere_is_brought_and_the_record_says_from_where(
    tools: Tools, folder: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "x"}\n')
    elsewhere = cast(Elsewhere, tools.remote)
    elsewhere.folders = {"s3://b/m": folder, "s3://b/rows.jsonl": rows}
    spec = plan(8, model={"name": "m", "uri": "s3://b/m"}, dataset={"path": "s3://b/rows.jsonl"})
    record = STAGE.run(tools, Inputs(), spec, "d")
    assert (Path(record.model.path) / "config.json").is_file()
    assert record.dataset is not None
    assert record.model_address == "s3://b/m@pinned"
    assert record.dataset_address == "s3://b/rows.jsonl@pinned"
    assert [text for text, _ in elsewhere.asked] == ["s3://b/m", "s3://b/rows.jsonl"]
