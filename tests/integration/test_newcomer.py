"""A newcomer's path: the page's own commands, from a model folder to a server that answers.

Real vLLM, llm-compressor and lm-eval on a tiny model; whoever reads the page types the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.adapters.process import free_port
from optikit.api import Job, leftovers
from tests.commands import NEWCOMER, Command, Why, commands, why_not
from tests.models import tiny_llama
from tests.running import environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TYPED = [command for command in commands(NEWCOMER) if why_not(command) is Why.ENGINE]
CODES = {"optikit submit job.yaml": (0, 3)}  # a random model may lose items; that is then said


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home with space")
    yield folder
    assert leftovers(folder) == []


def shell(home: Path, port: int) -> dict[str, str]:
    """What a newcomer's shell has: the environment on the path, and a model."""
    model = tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")
    found = {**environment(home), "MODEL": str(model), "PORT": str(port)}
    return {**found, "PATH": f"{BIN}:{os.environ['PATH']}"}


def here(command: Command, port: int) -> str:
    """The command with a port that nobody has."""
    return command.text.replace("8000", str(port))


def typed(text: str, variables: dict[str, str], folder: Path, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode in codes, f"{text}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_page_leads_from_a_model_folder_to_an_answer(home: Path, tmp_path: Path) -> None:
    port = free_port()
    variables = shell(home, port)
    serve = next(at for at, command in enumerate(TYPED) if "serve.sh" in command.text)
    before, ask = TYPED[: serve - 1], TYPED[serve + 1 :]
    assert [c.text.split()[1] for c in before] == [
        "init",
        "plan",
        "submit",
        "show",
        "report",
        "export",
    ]
    said = {c.text: typed(c.text, variables, tmp_path, CODES.get(c.text, (0,))) for c in before}

    result = Job.open("last", home).summary()
    assert result["state"] == "done", result["message"]
    assert [stage["state"] for stage in result["stages"]] == ["done"] * 6
    assert "preliminary" in result["message"]
    assert "serve it" in said["optikit show last"]
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    exported = next(text for command, text in said.items() if " --to command" in command)
    assert "NOT CERTIFIED" in exported
    assert result["bundle"] in exported.replace("'", "")

    start = "\n".join(here(command, port) for command in TYPED[serve - 1 : serve + 1])
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", start],
            cwd=tmp_path,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until_it_listens(server, port, tmp_path / "server.log")
            answer = json.loads(
                typed("\n".join(here(command, port) for command in ask), variables, tmp_path)
            )
        finally:
            end(server)
    assert answer["usage"]["completion_tokens"] in range(1, 9)
    assert answer["model"] in exported
    deploys(home, tmp_path, variables)


def wait_until_it_listens(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 240
    while True:
        assert server.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < until, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=10):
                return
        except OSError:
            time.sleep(0.5)


def end(server: subprocess.Popen[bytes]) -> None:
    """Its whole group, by its own number."""
    subprocess.run(["kill", "-TERM", "--", f"-{server.pid}"], check=False)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        pass
    finally:
        subprocess.run(["kill", "-KILL", "--", f"-{server.pid}"], check=False)
        server.wait(20)


def deploys(home: Path, folder: Path, variables: dict[str, str]) -> None:
    """The commands of the page on deploying, on that bundle: its rate is preliminary."""
    page = [c for c in commands("docs/howto/deploy-a-bundle.md") if why_not(c) is Why.ENGINE]
    export, digest = page
    typed(f"{export.text} --allow-uncertified", variables, folder)
    manifest = (folder / "server.yaml").read_text()
    bundle = str(Job.open("last", home).summary()["bundle"])
    told = typed(
        digest.text.replace("BUNDLE/", f"{bundle}/").replace(bundle, f"'{bundle}'"),
        variables,
        folder,
    )
    assert told.split()[0] in manifest
