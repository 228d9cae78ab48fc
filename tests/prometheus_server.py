"""Debian's Prometheus in front of one service, for tests; its tools check rules."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from optikit.adapters.process import free_port
from tests.debian import program

__all__ = ["Prometheus", "prometheus_server", "promtool"]

_START_S = 60.0


def promtool(*argv: str, cwd: Path) -> str:
    """What Prometheus' own checker says; it must be content."""
    tool = program("promtool", "prometheus")
    done = subprocess.run([tool, *argv], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """``data`` of an answer."""
        asked = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that an expression has now."""
        found = self.get("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def until(self, expression: str, patience_s: float = 60.0) -> float:
        """The first value of an expression, as soon as it has one."""
        until = time.monotonic() + patience_s
        while not (found := self.query(expression)):
            assert time.monotonic() < until, f"{expression}: nothing within {patience_s:g} s"
            time.sleep(0.5)
        return found[0][1]


@contextmanager
def prometheus_server(folder: Path, target: str, rules: Path) -> Iterator[Prometheus]:
    """One that asks a service every second.

    Args:
        target: the service's host and port.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    scrape = {"job_name": "optikit", "static_configs": [{"targets": [target]}]}
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    command = [
        program("prometheus", "prometheus"), f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        until = time.monotonic() + _START_S
        while not _ready(f"http://127.0.0.1:{port}"):
            assert server.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
