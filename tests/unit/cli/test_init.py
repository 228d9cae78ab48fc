from __future__ import annotations

import json
from pathlib import Path

import pytest

from optikit.cli import main
from optikit.stores import shapes
from tests.models import tiny_folder


@pytest.fixture(autouse=True)
def here(optikit_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_spec_is_written_and_plans(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "qwen-2.5-7b", "--sku", "H100_1"]) == 0
    said = capsys.readouterr().out
    assert "job.yaml" in said
    assert "H100_1" in said
    assert "optikit submit job.yaml" in said
    assert main(["plan", "job.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sku"] == "H100_1"
    assert not list(here.glob(".*partial"))


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yaml").write_text("mine")
    assert main(["init", "qwen-2.5-7b", "--output", "mine.yaml"]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert (here / "mine.yaml").read_text() == "mine"


def test_it_can_be_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "smollm2-135m", "-o", "-"]) == 0
    assert "flow: quantize_and_tune" in capsys.readouterr().out
    assert list(here.glob("*.yaml")) == []
    assert main(["init", "smollm2-135m", "-o", "-", "--json"]) == 2


def test_as_json_with_the_reasons(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "smollm2-135m", "-o", "a.yaml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == "a.yaml"
    assert told["job"]["engine"]["name"] == "simulated"
    assert {"sku", "recipe", "workload", "slo", "num_trials"} <= set(told["why"])


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "smollm2-135m", "-o", "nowhere/job.yaml"]) == 2
    assert "cannot write nowhere/job.yaml" in capsys.readouterr().err


def test_a_quick_spec_plans_and_says_what_it_is_worth(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_folder(here / "model")
    shape = Path(shapes.__file__).parent / "_shapes/smollm2-135m.json"
    (model / "config.json").write_text(json.dumps(json.loads(shape.read_text())["config"]))
    assert main(["init", "model", "--quick", "--sku", "CPU_2"]) == 0
    assert "preliminary" in (here / "job.yaml").read_text()
    capsys.readouterr()
    assert main(["plan", "job.yaml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["tuner"]["finalists"], plan["method"]["name"]) == (0, "doubling")


def test_a_long_job_is_said_to_be_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_folder(here / "model")
    shape = Path(shapes.__file__).parent / "_shapes/smollm2-135m.json"
    (model / "config.json").write_text(json.dumps(json.loads(shape.read_text())["config"]))
    assert main(["init", "model", "--sku", "CPU_2"]) == 0
    assert "--quick" in capsys.readouterr().out
    assert main(["init", "model", "--sku", "CPU_2", "--quick", "-o", "quick.yaml"]) == 0
    assert "--quick" not in capsys.readouterr().out
