"""The variables are sourced by sh, and the command in them is run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings

from optikit.exports.base import DeploySettings
from tests.argv import VALUES, WORDS, expected
from tests.bundles import bundle, render
from tests.unit.exports.test_command import STUB, run


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("env") / "py"
    file.write_text(STUB)
    file.chmod(0o755)
    return file


@given(WORDS, VALUES)
@settings(max_examples=40)
def test_what_is_sourced_starts_the_certified_command(
    stub: Path, words: list[str], value: str
) -> None:
    served = bundle(more=words, environment={"X": value})
    asked = DeploySettings(python=str(stub), model_path="/m")
    text = render("env", served, **asked.model_dump(exclude_none=True))
    found = run(f'{text}eval "exec $OPTIKIT_COMMAND"')
    assert found == (value, expected(served, "/m", "127.0.0.1", asked))
    plain = run(f'{text}eval "exec \\"{stub}\\" $OPTIKIT_CERTIFIED_ARGUMENTS"')[1]
    assert plain == list(served.facts.arguments[11:])


def test_scripts_read_the_certificate_and_the_image() -> None:
    text = render("env", bundle(), model_path="/m")
    told = dict(
        shlex.split(line)[-1].split("=", 1) for line in text.splitlines() if line[:1] not in "#"
    )
    assert told["OPTIKIT_STATUS"] == "certified"
    assert told["OPTIKIT_RATE_RPS"] == "4.25"
    assert told["OPTIKIT_SLO"] == "p95(e2e) <= 500 ms"
    assert told["OPTIKIT_IMAGE"] == "vllm/vllm-openai:v0.32.0"
    assert told["OPTIKIT_CERTIFICATE_DIGEST"].startswith("sha256:ce")
    assert told["HF_HUB_OFFLINE"] == "1"


def test_a_version_without_an_image_needs_none() -> None:
    text = render("env", bundle(version="0.32.1.dev7"), model_path="/m")
    assert "OPTIKIT_IMAGE=''\n" in text
