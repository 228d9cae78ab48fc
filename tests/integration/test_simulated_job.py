"""Whole jobs on the simulated engine, through the command line and a driver process each."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from optikit.api import leftovers
from optikit.cli import main

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
OPTIKIT = str(Path(sys.executable).with_name("optikit"))
SPEC: dict[str, Any] = {
    "flow": "quantize_and_tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "flow_params": {
        "recipe": "fp8_dynamic",
        "num_trials": 2,
        "ablation": True,
        "space": {"tensor_parallel": [2]},
    },
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 500 ms"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home with space")


def run(home: Path, *argv: str) -> str:
    done = subprocess.run(
        [OPTIKIT, *argv],
        env={**os.environ, "OPTIKIT_HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def spec(folder: Path, **changes: Any) -> str:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return str(path)


@pytest.fixture(scope="module")
def progress(home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What submitting a job of all six stages printed."""
    return run(home, "submit", spec(tmp_path_factory.mktemp("spec")))


@pytest.fixture
def job(
    home: Path,
    progress: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> dict[str, Any]:
    """That job's summary; ``main`` then finds the home."""
    monkeypatch.setenv("OPTIKIT_HOME", str(home))
    (job_id,) = [word for word in progress.split()[:3] if word.startswith("j2")]
    assert main(["show", job_id.rstrip(":"), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_all_six_stages_end_with_four_corners(home: Path, job: dict[str, Any]) -> None:
    assert (job["simulated"], job["verdict"], job["registered"]) == (True, "pass", None)
    assert [stage["state"] for stage in job["stages"]] == ["done"] * 6
    assert job["quality"][0]["verdict"] == "cannot tell"
    corners = job["corners"]
    assert all(corner["slo_met"] for corner in corners.values())
    assert corners["quantized"]["gain"] > 1.1, "fp8 computes twice as fast and reads half"
    assert corners["both"]["rate_rps"] >= corners["quantized"]["rate_rps"]
    assert leftovers(home) == []


def test_every_output_says_simulated(
    job: dict[str, Any], progress: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = progress[: progress.index("SIMULATED: Result")].splitlines()
    assert len(lines) > 20
    assert all("SIMULATED: " in line for line in lines if line)
    assert job["message"].startswith("SIMULATED: ")
    for argv in (["show", job["id"]], ["status", job["id"]], ["trials", job["id"]], ["list"]):
        assert main(argv) == 0
        text = capsys.readouterr().out
        assert "SIMULATED" in text
        assert ("SIMULATED: Four corners" in text) == (argv[0] == "show")
        assert main([*argv, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert all(
            one["simulated"] is True for one in (found if isinstance(found, list) else [found])
        )
    assert main(["certificate", "show", job["bundle"]]) == 0
    assert "SIMULATED" in capsys.readouterr().out
    assert main(["logs", job["id"], "--trial", "b0-baseline"]) == 0
    assert "SIMULATED" in capsys.readouterr().out
    certificate = json.loads((Path(job["bundle"]) / "certificate.json").read_text())
    assert (certificate["simulated"], certificate["engine"]) == (True, "simulated")


def test_the_tracker_is_told_and_given_no_model(home: Path, job: dict[str, Any]) -> None:
    with sqlite3.connect(home / "mlflow.db") as store:
        (runs,) = store.execute(
            "select count(*) from tags where key = 'optikit.job_id' and value = ?", (job["id"],)
        ).fetchone()
        (marked,) = store.execute(
            "select count(*) from tags as a join tags as b using (run_uuid) where a.value = ?"
            " and b.key = 'optikit.simulated' and a.key = 'optikit.job_id'",
            (job["id"],),
        ).fetchone()
        (versions,) = store.execute("select count(*) from model_versions").fetchone()
    store.close()
    assert marked == runs == job["trials"] + 1
    assert versions == 0


def test_the_bundle_is_verified_on_paper_and_is_not_served(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One seed, not a drawn one: of 60 drawn ones a rate that holds was called broken by 1.
    monkeypatch.setattr("optikit.measuring.verify.secrets.randbits", lambda bits: 1839565416)
    assert main(["verify", job["bundle"], "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["simulated"], done["verdict"]) == (True, "holds")
    assert done["requests"] > 100
    served = subprocess.run([f"{job['bundle']}/serve.sh"], capture_output=True, text=True)
    assert served.returncode == 2
    assert "simulated and holds no model" in served.stderr


@pytest.mark.parametrize(
    ("flow", "verdict", "pool"),
    [
        ("quantize", "cannot tell", None),
        ("evaluate", "cannot tell", "inline"),
        ("benchmark", "pass", "process"),
    ],
)
def test_every_other_flow_from_a_folder_with_a_config_alone(
    home: Path, tmp_path: Path, flow: str, verdict: str, pool: str | None
) -> None:
    model = tmp_path / "no weights"
    model.mkdir()
    shape = json.loads((ROOT / "src/optikit/stores/_shapes/qwen-2.5-7b.json").read_text())
    (model / "config.json").write_text(json.dumps(shape["config"]))
    changes = {
        "model": {"name": "mine", "uri": model.as_uri()},
        "dataset": {"path": "/no/such/folder"},
        "quality": {"on_cannot_tell": "stop"},
    }
    argv = ["submit", spec(tmp_path, flow=flow, **changes), "--json"]
    found = json.loads(run(home, *argv, *(["--pool", pool] if pool else [])))
    assert (found["simulated"], found["state"], found["verdict"]) == (True, "done", verdict)
