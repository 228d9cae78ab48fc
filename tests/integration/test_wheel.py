"""The wheel, installed where no checkout is: what it carries, and what works with which extra."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from optikit import __version__

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))
LOCK = str(ROOT / "constraints" / "main.txt")
EXTRAS = {
    *("cluster", "compress", "evaluate", "tune", "mlflow", "s3", "hdfs", "telemetry", "sim"),
    *("plots", "report", "service", "postgres", "kernels", "all"),
}
SPEC = {
    "flow": "benchmark",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "compute": {"sku": "H100_1"},
    "workload": {"prompt_tokens": 200, "output_tokens": 8},
    "slo": ["p95(e2e) <= 500 ms"],
}


def done(*argv: str, cwd: Path, expect: int = 0, **environment: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    passed = {n: v for n, v in os.environ.items() if n.startswith(("UV_", "PIP_", "SSL_"))}
    ended = subprocess.run(
        argv,
        cwd=cwd,
        env={**kept, **passed, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == expect, f"{argv}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done(UV, "build", "--wheel", "--out-dir", str(out), str(ROOT), cwd=out)
    (found,) = out.glob("*.whl")
    return found


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder with nothing in it to work in."""

    python: Path
    cwd: Path
    wheel: Path

    def add(self, extra: str = "") -> None:
        asked = f"{self.wheel}[{extra}]" if extra else str(self.wheel)
        python = str(self.python)
        done(UV, "pip", "install", "-q", "--python", python, "-c", LOCK, asked, cwd=self.cwd)

    def optikit(self, *argv: str, expect: int = 0) -> str:
        command = str(self.python.with_name("optikit"))
        home = str(self.cwd / "home")
        return done(command, *argv, cwd=self.cwd, expect=expect, OPTIKIT_HOME=home)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("away")
    done(UV, "venv", "-q", "--python", sys.executable, str(root / "env"), cwd=root)
    (root / "work").mkdir()
    found = Installed(root / "env" / "bin" / "python", root / "work", wheel)
    found.add()
    (found.cwd / "job.yaml").write_text(yaml.safe_dump(SPEC))
    return found


def test_it_carries_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    listed = done("git", "ls-files", "-z", "src/optikit", cwd=ROOT).split("\0")
    ours = {name.removeprefix("src/") for name in listed if name and (ROOT / name).exists()}
    names = set(zipfile.ZipFile(wheel).namelist())
    outside = f"optikit-{__version__}.dist-info/"
    assert {name for name in names if not name.startswith(outside)} == ours
    assert f"{outside}licenses/LICENSE" in names


def test_it_names_its_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        text = opened.read(f"optikit-{__version__}.dist-info/METADATA").decode()
    facts = email.message_from_string(text)
    assert set(facts.get_all("Provides-Extra", [])) >= EXTRAS
    assert facts["License-Expression"] == "Apache-2.0"


def test_the_code_that_runs_is_the_wheels(installed: Installed) -> None:
    where = "import optikit; print(optikit.__file__)"
    found = done(str(installed.python), "-c", where, cwd=installed.cwd)
    assert Path(found.strip()).is_relative_to(installed.python.parents[1])


def test_without_extras_it_plans_and_simulates_and_says_what_else_needs(
    installed: Installed,
) -> None:
    assert __version__ in installed.optikit("--version")
    plan = json.loads(installed.optikit("plan", "job.yaml", "--json"))
    assert plan["simulated"] is True
    assert "complete" in installed.optikit("completion", "bash")
    assert json.loads(installed.optikit("schema", "job"))["title"].startswith("optikit job")
    shown = json.loads(installed.optikit("submit", "job.yaml", "--json"))
    assert shown["state"] == "done"
    assert installed.optikit("archive", "check")
    refused = installed.optikit("report", "last", "--output", "report.html", expect=1)
    assert "pip install 'optikit[report]'" in refused
    assert not (installed.cwd / "report.html").exists()


def test_an_extra_adds_what_it_says(installed: Installed) -> None:
    installed.add("report,plots,mlflow,tune")
    installed.optikit("report", "last", "--output", "report.html")
    assert "Qwen" in (page := (installed.cwd / "report.html").read_text()) or "qwen" in page
    tuned = {
        **SPEC,
        "flow": "quantize_and_tune",
        "flow_params": {"recipe": "fp8_dynamic", "num_trials": 2},
    }
    (installed.cwd / "tuned.yaml").write_text(yaml.safe_dump(tuned))
    shown = json.loads(installed.optikit("submit", "tuned.yaml", "--json"))
    assert shown["state"] == "done"
    refused = installed.optikit("export", "last", "--to", "command", expect=2)
    assert "is simulated" in refused


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_extra_resolves_with_the_lock(installed: Installed, extra: str) -> None:
    python = str(installed.python)
    asked = f"{installed.wheel}[{extra}]"
    said = done(
        *(UV, "pip", "install", "--dry-run", "--python", python, "-c", LOCK, asked),
        cwd=installed.cwd,
    )
    assert "Would" in said or "Audited" in said
