from __future__ import annotations

import json
from pathlib import Path

import pytest

from optikit import firstspec
from optikit.api import Submitter
from optikit.errors import BadInput
from optikit.spec.job import OptimizationJob
from optikit.stages import _room
from tests.models import tiny_folder

SHAPE = Path(firstspec.__file__).parent / "stores" / "_shapes" / "smollm2-135m.json"


def test_a_job_for_which_the_disk_is_too_small_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps(json.loads(SHAPE.read_text())["config"]))
    job = OptimizationJob.parse(
        {
            "flow": "tune",
            "model": {"name": "m", "uri": folder.as_uri()},
            "compute": {"sku": "CPU_2"},
        }
    )
    monkeypatch.setattr(_room, "free_bytes", lambda place: 100)
    with pytest.raises(BadInput) as caught:
        Submitter(tmp_path / "home").open(job)
    said = str(caught.value)
    assert "the disk is too small for the job: asked at least" in said
    assert "optikit archive gc" in said
    assert not (tmp_path / "home" / "jobs").exists()
