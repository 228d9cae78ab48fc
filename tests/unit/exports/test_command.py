"""The command is run by sh; a stub in the interpreter's place tells what it was given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings

from optikit.exports.base import DeploySettings
from tests.argv import VALUES, WORDS, expected
from tests.bundles import bundle, render

STUB = '#!/bin/sh\nprintf "%s\\000" "$X" "$#" "$@"\n'


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter at a path that needs quotes."""
    file = tmp_path_factory.mktemp("it's a $HOME") / "python 3"
    file.write_text(STUB)
    file.chmod(0o755)
    return file


def run(script: str) -> tuple[str, list[str]]:
    """Variable X and the arguments that the stub saw."""
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, timeout=30, env={"PATH": os.environ["PATH"]}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    value, count, *words, rest = done.stdout.decode().split("\0")
    assert (int(count), rest) == (len(words), "")
    return value, words


@given(WORDS, VALUES)
@settings(max_examples=40)
def test_sh_starts_the_certified_command(stub: Path, words: list[str], value: str) -> None:
    served = bundle(more=words, environment={"X": value})
    asked = DeploySettings(python=str(stub), model_path="/a model/$x", host="::1", port=9000)
    text = render("command", served, **asked.model_dump(exclude_none=True))
    assert run(text) == (value, expected(served, "/a model/$x", "::1", asked))


def test_the_bundles_own_model_and_interpreter_are_the_default(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    served = bundle(str(tmp_path))
    text = render("command", served)
    assert f"--model {tmp_path}/model" in text
    assert "--host 127.0.0.1" in text
    assert f"    {served.facts.arguments[0]} " in text


def test_the_certificate_stands_above_it() -> None:
    head = [
        x for x in render("command", bundle(), model_path="/m").splitlines() if x.startswith("#")
    ]
    text = "\n".join(head)
    assert "certified: 4.25 requests/s hold the SLO" in text
    assert "p95(e2e) <= 500 ms" in text
    assert "2 of 8 devices of H100_8" in text
    assert "Certificate sha256:cece" in text
    assert "NOT CERTIFIED" not in text
