"""One grammar: optikit export WHAT --to TARGET, for bundles and for job specs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from optikit.cli import main
from optikit.exports import EXPORTS
from tests.bundles import archived

JOB = str(Path(__file__).parents[3] / "examples/jobs/llama-70b.yaml")
TARGETS = [name.replace("_", "-") for name in EXPORTS.names() if name != "rayjob"]


def test_the_help_names_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    told = capsys.readouterr().out
    assert [name for name in [*TARGETS, "rayjob"] if name not in told] == []


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exports_the_last_job(
    optikit_home: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    archived(optikit_home)
    assert main(["export", "last", "--to", target]) == 0
    told = capsys.readouterr().out
    assert "4.25 requests/s hold the SLO" in told
    out = optikit_home / "out"
    assert main(["export", "job-1", "--to", target, "-o", str(out)]) == 0
    assert out.read_text() == told


def test_a_job_spec_is_exported_by_the_same_words(
    capsys: pytest.CaptureFixture[str], optikit_home: Path
) -> None:
    assert main(["export", JOB, "--to", "rayjob", "--id", "job-1"]) == 0
    new = capsys.readouterr().out
    assert main(["export", "rayjob", JOB, "--id", "job-1"]) == 0
    assert capsys.readouterr().out == new
    _, ray_job = yaml.safe_load_all(new)
    assert ray_job["kind"] == "RayJob"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["job-1"], "--to"),
        (["job-1", "--to", "kubernets"], "did you mean 'kubernetes'"),
        (["job-9", "--to", "kubernetes"], "no job 'job-9'"),
        (["job-1", "--to", "kubernetes", "--queue", "q"], "--queue means nothing"),
        (["job-1", "--to", "kubernetes", "--host", "h"], "--host means nothing"),
        (["job-1", "--to", "compose", "--claim", "c"], "--claim means nothing"),
        (["job-1", "--to", "kubernetes", "--name", "No!"], "name"),
        (["job-1", "--to", "kubernetes", "--port", "0"], "port"),
        (["job-1", "--to", "command", "--host", "$(id)"], "host"),
        (["job-1", "--to", "kubernetes", "--image", "${X}"], "image"),
        (["job-1", JOB, "--to", "rayjob"], "give one of them"),
        ([JOB, "--to", "rayjob", "--port", "1"], "--port means nothing"),
        (["job-1", "--to", "rayjob"], "job-1"),
    ],
)
def test_bad_words_are_one_line(
    optikit_home: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    archived(optikit_home)
    assert main(["export", *argv]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_an_uncertified_bundle_needs_a_word(
    optikit_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archived(optikit_home, status="preliminary")
    assert main(["export", "last", "--to", "compose"]) == 2
    assert "--allow-uncertified" in capsys.readouterr().err
    assert main(["export", "last", "--to", "compose", "--allow-uncertified"]) == 0
    assert "# NOT CERTIFIED" in capsys.readouterr().out
