"""The how-tos for plug-ins: their examples are whole, and keep what the room promises."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from optikit.core.addresses import Address
from optikit.core.space import Space, key_of
from optikit.errors import BadInput
from optikit.evaluators.lm_eval import EVALUATOR
from optikit.plugins import Room
from optikit.spec.serving import ServingConfig
from optikit.spec.space import Dimension
from optikit.tuners.base import Outcome

ROOT = Path(__file__).parent.parent
HOWTO = ROOT / "docs" / "howto"


def example(page: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's Python block, as a module that can be imported."""
    (text,) = re.findall(r"```python\n(.*?)```", (HOWTO / page).read_text(), re.DOTALL)
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    module = __import__(name)
    monkeypatch.delitem(sys.modules, name)
    return module


def test_the_tuner_of_the_page_keeps_the_promises_of_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner: Any = example("add-a-tuner.md", "largest_first", tmp_path, monkeypatch).TUNER
    assert (tuner.name, tuner.needs_prior, tuner.keeps_study) == ("largest_first", False, False)
    dimensions = (
        Dimension(name="max_num_seqs", values=(16, 64), log=True),
        Dimension(name="tensor_parallel", values=(1, 2), log=True),
    )
    space = Space(dimensions, lambda serving: None, ServingConfig(max_model_len=1024))
    study = tuner.start(space, 0, tmp_path / "study")
    first, second = study.ask(), study.ask()
    assert first["max_num_seqs"] == second["max_num_seqs"] == 64
    study.tell(second, Outcome(None, "failed", cause="out of memory"))
    study.tell(first, Outcome(1.0))
    again = tuner.start(space, 0, tmp_path / "study")  # as after a resume
    left = [again.ask(), again.ask()]
    told = {key_of(point) for point in (first, second)}
    assert {key_of(point) for point in left} == {key_of(p) for p in space.points()} - told
    assert again.ask() is None


def test_the_source_of_the_page_reads_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = example("add-a-source.md", "share", tmp_path, monkeypatch)
    monkeypatch.setattr(module, "MOUNTS", str(tmp_path))
    (tmp_path / "team" / "model").mkdir(parents=True)
    (tmp_path / "team" / "model" / "config.json").write_text("{}")
    tree = module.SOURCE.open(Address.parse("share://team/model", "model.uri"))
    assert {name: file.size for name, file in tree.files().items()} == {"config.json": 2}
    assert tree.read("config.json", 0, 2) == b"{}"
    assert tree.pinned == "share://team/model"
    (tmp_path / "rows.txt").write_text("a text")
    tree.write("data/rows.txt", tmp_path / "rows.txt")
    written = tmp_path / "team/model/data/rows.txt"
    assert written.read_text() == "a text"
    tree.remove("data/rows.txt")
    assert not written.exists()
    with pytest.raises(BadInput, match="which folder"):
        module.SOURCE.open(Address.parse("share://team", "model.uri"))
    with pytest.raises(BadInput, match="nothing is there"):
        module.SOURCE.open(Address.parse("share://team/none", "model.uri")).files()


def test_the_task_of_the_page_is_one(tmp_path: Path) -> None:
    page = (HOWTO / "bring-your-data.md").read_text()
    (rows,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (task,) = [b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "task: qa" in b]
    (tmp_path / "qa.jsonl").write_text(rows)
    (tmp_path / "qa.yaml").write_text(task)
    tasks = [str(tmp_path / "qa.yaml"), "everyday_facts"]
    EVALUATOR.check(tasks)
    before = EVALUATOR.identity(tasks)
    (tmp_path / "qa.jsonl").write_text(rows.replace("blue", "green"))
    assert EVALUATOR.identity(tasks) != before, "its items count"


ROOMS = {
    "add-a-recipe.md": "recipes",
    "add-an-engine.md": "engines",
    "add-a-tuner.md": "tuners",
    "add-a-source.md": "sources",
    "add-an-evaluator.md": "evaluators",
}


@pytest.mark.parametrize(("page", "room"), ROOMS.items())
def test_a_page_names_its_room_and_its_export(page: str, room: str) -> None:
    text = (HOWTO / page).read_text()
    package = __import__(f"optikit.{room}", fromlist=["x"])
    (found,) = [value for value in vars(package).values() if isinstance(value, Room)]
    assert f"`optikit.{room}`" in text
    assert f"`{found.export}`" in text or f"{found.export} =" in text
    assert (ROOT / f"src/optikit/{room}/base.py").exists()
    assert f"`src/optikit/{room}/base.py`" in text
