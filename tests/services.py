"""A service as a process of its own, and the command line that speaks to it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optikit.adapters.http_get import get_json
from optikit.service.client import ServedJob, Server
from tests.running import OPTIKIT, ROOT, environment

_AT = re.compile(r"serving .* at (https?://\S+:\d+);")


@dataclass
class RunningService:
    """One that answers."""

    home: Path
    url: str
    process: subprocess.Popen[str]
    log: Path
    """What it wrote to its standard error."""
    said: list[str] = field(default_factory=list)
    """Lines of its standard output up to the one that says where it serves."""

    def server(self, token: str | None) -> Server:
        return Server(self.url, token)

    def kill(self) -> None:
        """SIGKILL: nothing of its own can be put in order."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running_service(home: Path, *argv: str) -> Iterator[RunningService]:
    """``optikit serve`` on a free port; ended by SIGTERM where it still runs."""
    home.mkdir(parents=True, exist_ok=True)
    log = home.parent / f"{home.name}-{time.monotonic_ns()}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [OPTIKIT, "serve", "--home", str(home), "--port", "0", *argv],
            env=environment(home),
            cwd=home.parent,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        said, match = [], None
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            match = _AT.search(line)
            if match:
                break
        assert match, f"{process.wait(10)}: {said}\n{log.read_text()[-3000:]}"
        made = RunningService(home, match[1], process, log, said)
        until = time.monotonic() + 20
        while match[1].startswith("http:") and get_json(f"{match[1]}/healthz").status != 200:
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.05)
        yield made
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def by_command(
    home: Path, *argv: str, code: int = 0, stdin: str = "", variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One optikit command of a client, whose settings are beside the home."""
    own = {"XDG_CONFIG_HOME": str(home.parent / "config"), **(variables or {})}
    done = subprocess.run(
        [OPTIKIT, *argv],
        env={**environment(home.parent / "nothing here"), **own},
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def wait_until(job: ServedJob, true: Callable[[dict[str, Any]], bool], seconds: float = 120) -> Any:
    """The job's status once it is as asked."""
    until = time.monotonic() + seconds
    while True:
        status = job.status()
        if true(status):
            return status
        assert time.monotonic() < until, status
        time.sleep(0.3)
