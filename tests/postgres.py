"""A private PostgreSQL for a test module: it listens to a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.debian import debian

__all__ = ["database", "server", "start", "stop"]

USER = "nobody"
"""PostgreSQL refuses to run as root."""


def binaries() -> Path:
    """Folder of the server's programs; the test is skipped where there are none."""
    pytest.importorskip("psycopg", reason="no driver; pip install 'optikit[postgres]'")
    return Path(debian(_initdb, "postgresql")).parent


def _initdb() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1]) if found else None


def as_user(*command: str) -> list[str]:
    return ["runuser", "-u", USER, "--", *command] if os.geteuid() == 0 else list(command)


def control(folder: Path, *words: str) -> None:
    subprocess.run(
        as_user(str(binaries() / "pg_ctl"), "-D", str(folder / "data"), "-w", *words),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )


def start(folder: Path) -> None:
    """Start the server of a folder, and wait for it."""
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    control(folder, "-l", str(folder / "log"), "-o", options, "start")


def stop(folder: Path) -> None:
    """Stop it; its clients lose their connections."""
    control(folder, "-m", "fast", "stop")


@contextmanager
def server() -> Iterator[Path]:
    """Folder of a new server's socket."""
    tools = binaries()
    folder = Path(f"/tmp/optikit-pg-{os.getpid()}")  # short: a socket's path has 107 characters
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    made = [str(tools / "initdb"), "-D", str(folder / "data"), "-U", "optikit", "-A", "trust"]
    subprocess.run(as_user(*made, "--no-sync"), check=True, capture_output=True, cwd="/")
    start(folder)
    try:
        yield folder
    finally:
        ended = as_user(str(tools / "pg_ctl"), "-D", str(folder / "data"), "-m", "immediate")
        subprocess.run([*ended, "-w", "stop"], capture_output=True, cwd="/")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(folder: Path, name: str) -> Iterator[str]:
    """URL of a new database of a server."""
    where = ["-h", str(folder), "-U", "optikit"]
    tools = binaries()
    subprocess.run([str(tools / "createdb"), *where, name], check=True, capture_output=True)
    yield f"postgresql://optikit@/{name}?host={quote(str(folder), safe='')}"
    subprocess.run([str(tools / "dropdb"), "--force", *where, name], capture_output=True)
