"""What people look at, in a real browser: it works alone, for keyboards and for screen readers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.browser_pages import looked_at

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(600)]

OPTIKIT = str(Path(sys.executable).with_name("optikit"))
SPEC: dict[str, Any] = {
    "flow": "quantize_and_tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "flow_params": {"recipe": "fp8_dynamic", "num_trials": 3, "ablation": True},
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 500 ms"],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole job on simulated devices."""
    home = tmp_path_factory.mktemp("pages")
    (home / "job.yaml").write_text(yaml.safe_dump(SPEC))
    file = home / "report.html"
    for argv in (["submit", str(home / "job.yaml")], ["report", "last", "--output", str(file)]):
        done = subprocess.run(
            [OPTIKIT, *argv],
            env={**os.environ, "OPTIKIT_HOME": str(home / "home")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return file


@pytest.mark.parametrize(("look", "options"), [("desk", []), ("phone", ["--width", "400"])])
def test_a_report_in_a_browser(report: Path, tmp_path: Path, look: str, options: list[str]) -> None:
    """$OPTIKIT_SCREENSHOTS keeps the pictures, for whoever wants to look."""
    shots = Path(os.environ.get("OPTIKIT_SCREENSHOTS") or tmp_path)
    page = looked_at({f"report-{look}": report.as_uri()}, shots, *options)[f"report-{look}"]
    assert page["errors"] == []
    assert page["requests"] == [], "it loads nothing"
    assert page["serious"] == []
    assert not page["sideways"]
    assert page["reached"], "nothing is reached by the keyboard"
    assert (shots / f"report-{look}.png").stat().st_size > 20_000
