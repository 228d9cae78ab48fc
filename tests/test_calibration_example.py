"""The committed calibration text is what its script writes."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.make_calibration import rows

FILE = Path(__file__).parents[1] / "examples/data/calibration/everyday.jsonl"


def test_the_committed_text_is_what_the_script_makes() -> None:
    found = [json.loads(line)["text"] for line in FILE.read_text().splitlines()]
    assert found == rows()
    assert len(set(found)) == len(found) >= 300
