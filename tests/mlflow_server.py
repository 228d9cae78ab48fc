"""A private MLflow server: the whole package, in an environment of its own that is made on demand.

OptiKIT itself needs ``mlflow-skinny`` alone, whose version the server has, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from optikit.adapters.process import free_port
from tests.alone import alone

__all__ = ["mlflow_server"]

ROOT = Path(__file__).parents[1]
_START_S = 150.0


def _python() -> Path:
    """The environment's interpreter."""
    wanted = version("mlflow-skinny")
    folder = ROOT / ".cache" / "venvs" / f"mlflow-{wanted}"
    python, done = folder / "bin" / "python", folder / ".complete"
    with alone(folder.with_suffix(".lock")):
        if not done.is_file():
            uv = str(Path(sys.executable).with_name("uv"))
            subprocess.run(
                [uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True
            )
            install = [uv, "pip", "install", "-q", "--python", str(python), f"mlflow=={wanted}"]
            subprocess.run(install, check=True)
            done.touch()
    return python


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Address of a server with its database and artifacts below a folder."""
    python, port = _python(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    command = [
        str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **settings},
        )
    try:
        until = time.monotonic() + _START_S
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > until:
                said = (folder / "log").read_text()[-2000:]
                raise RuntimeError(f"the MLflow server did not start: {said}")
            time.sleep(0.5)
        yield url
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, number)
                server.wait(5.0)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
