"""The bundle's serve.sh, run by bash, with a Python one-liner for a server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from optikit.core.bundle import HOST, MODEL, PORT, serve_script

pytestmark = [pytest.mark.integration, pytest.mark.beside]

TELL = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['A']]))"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "a bundle $(touch pwned) 'x'"
    (folder / "model").mkdir(parents=True)
    script = folder / "serve.sh"
    command = [sys.executable, "-c", TELL, "--model", MODEL, "--host", HOST, f"--port={PORT}"]
    script.write_text(serve_script(command, {"A": "it's $HOME"}, "vllm 0.32.0", "m"))
    script.chmod(0o755)
    return folder


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def serve(
    script: Path, cwd: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PORT": free_port(), **variables}
    return subprocess.run(
        [script, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=30
    )


def test_it_becomes_the_server_wherever_it_is_called_from(bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.sh"
    link.symlink_to(bundle / "serve.sh")
    port = free_port()
    for script in (bundle / "serve.sh", link):
        done = serve(script, tmp_path, "--more", "a b", PORT=port)
        assert done.returncode == 0, done.stderr
        words, folder, value = json.loads(done.stdout)
        assert words == [
            *("--model", str(bundle / "model"), "--host", "127.0.0.1"),
            *(f"--port={port}", "--more", "a b"),
        ]
        assert folder == str(bundle)
        assert value == "it's $HOME"
    assert not list(tmp_path.rglob("pwned"))


def test_a_port_in_use_is_said(bundle: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = serve(bundle / "serve.sh", bundle, PORT=port)
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("port", ["0", "65536", "08", "http", "", "1;ls"])
def test_a_port_that_is_none_is_said(bundle: Path, port: str) -> None:
    done = serve(bundle / "serve.sh", bundle, PORT=port)
    if port == "":  # as if it were not set
        assert "PORT is" not in done.stderr
        return
    assert done.returncode == 2
    assert f"PORT is '{port}'" in done.stderr


def test_a_missing_interpreter_is_said(bundle: Path) -> None:
    done = serve(bundle / "serve.sh", bundle, OPTIKIT_ENGINE_PYTHON="/no/python")
    assert done.returncode == 2
    assert "no interpreter at '/no/python'; set OPTIKIT_ENGINE_PYTHON" in done.stderr
    assert "vllm 0.32.0" in done.stderr


def test_another_interpreter_can_be_named_relative_to_the_caller(
    bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "my python").symlink_to(sys.executable)
    done = serve(bundle / "serve.sh", tmp_path, OPTIKIT_ENGINE_PYTHON="./my python")
    assert done.returncode == 0, done.stderr


def test_a_bundle_torn_apart_is_said(bundle: Path) -> None:
    (bundle / "model").rmdir()
    done = serve(bundle / "serve.sh", bundle)
    assert done.returncode == 2
    assert "keep the bundle together" in done.stderr
