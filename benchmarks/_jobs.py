"""Whole jobs, submitted as a user submits them, and their four corners in a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CORNERS = {
    "baseline": "baseline",
    "quantized": "quant only",
    "tuned": "tuning only",
    "both": "both",
}


def submitted(home: Path, spec: Mapping[str, Any], name: str, *argv: str) -> dict[str, Any]:
    """What ``optikit show --json`` says of the job once it has ended.

    An answer other than success (an SLO that nothing holds) is an answer; an error ends the run.
    """
    file = home / f"{name}.json"
    file.write_text(json.dumps(spec))
    said = optikit(home, "submit", str(file), "--json", *argv)
    found: dict[str, Any] = json.loads(optikit(home, "show", json.loads(said)["id"], "--json"))
    return found


def optikit(home: Path, *argv: str) -> str:
    """Standard output of one optikit command. Every answer is one, an error ends the benchmark."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("optikit")), *argv],
        env={**os.environ, "OPTIKIT_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode not in (0, 3, 4):
        sys.exit(f"optikit {' '.join(argv)} ended with {done.returncode}")
    return done.stdout


def corner_text(corner: Mapping[str, Any]) -> str:
    """``6.79 (1.93x, 1.90 to 1.97)``, or why there is no figure."""
    rate, gain = corner["rate_per_gpu"], corner["gain"]
    if rate is None:
        return "SLO not met" if corner["slo_met"] is False else "not known"
    low, high = corner["gain_low"], corner["gain_high"]
    if gain is None:
        return f"{rate:.3g}"
    if low is None or high is None or low == high:
        return f"{rate:.3g} ({gain:.2f}x)"
    tie = ", a tie" if low <= 1 <= high else ""
    return f"{rate:.3g} ({gain:.2f}x, {low:.2f} to {high:.2f}{tie})"
