"""Pages in a real headless Chromium: what it complains of, asks for, and shows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.alone import alone
from tests.debian import program

__all__ = ["looked_at", "walked"]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "browser"
MODULES = ROOT / ".cache" / "browser"


def looked_at(pages: Mapping[str, str], shots: Path, *options: str) -> dict[str, dict[str, Any]]:
    """Name to what was seen; ``shots`` gets a picture of each page.

    Args:
        pages: name to URL.
        options: of look.mjs.
    """
    named = [f"{name}={url}" for name, url in pages.items()]
    return _ran("look.mjs", shots, [*options, *named], 120)


def walked(
    origin: str, token: str, job: str, shots: Path, scripts: bool, cancels: bool = False
) -> dict[str, dict[str, Any]]:
    """Step to what was seen on the way from signing in to a job's certificate, by keyboard.

    Args:
        job: id of one that has just begun.
        scripts: whether the browser runs JavaScript.
        cancels: cancel the job on its page, and end there.
    """
    mode = ["scripts" if scripts else "plain", "cancel" if cancels else "watch"]
    argv = [origin, token, job, *mode]
    return _ran("walk.mjs", shots, argv, 240)


def _ran(script: str, shots: Path, argv: Sequence[str], timeout_s: float) -> dict[str, Any]:
    chromium, node = program("chromium", "chromium"), shutil.which("node")
    if node is None:
        pytest.skip("no Node.js here")
    with alone(MODULES.with_suffix(".lock")):
        _install()
    shots.mkdir(parents=True, exist_ok=True)
    fixed = [node, str(FOLDER / script), chromium, str(MODULES), str(shots)]
    # a group of its own: a browser outlives the script that is killed
    process = subprocess.Popen(
        [*fixed, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, errors = process.communicate(timeout=timeout_s)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0, errors[-3000:]
    found: dict[str, Any] = json.loads(said)
    return found


def _install() -> None:
    """playwright-core and axe-core, as locked, in the checkout's cache."""
    lock = (FOLDER / "package-lock.json").read_bytes()
    done = MODULES / ".complete"
    if done.is_file() and done.read_bytes() == lock:
        return
    MODULES.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, MODULES / name)
    subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=MODULES,
        check=True,
        capture_output=True,
        timeout=300,
    )
    done.write_bytes(lock)
