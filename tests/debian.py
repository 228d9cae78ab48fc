"""Servers and programs of Debian that tests run: installed where they are missing and root may."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.alone import alone

__all__ = ["debian", "program"]


def program(name: str, package: str) -> str:
    """Path of a program; the test is skipped where it is missing and cannot be installed."""
    return debian(lambda: shutil.which(name), package)


def debian(find: Callable[[], str | None], package: str) -> str:
    """What ``find`` finds, after the package was installed if need be."""
    if find() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with alone(Path(tempfile.gettempdir()) / "optikit-tests-apt.lock"):
            if find() is None:
                _install(package)
    found = find()
    if found is None:
        pytest.skip(f"not here (Debian: apt-get install {package})")
    return found


def _install(package: str) -> None:
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        subprocess.run(command, env=environment, capture_output=True, timeout=600)
