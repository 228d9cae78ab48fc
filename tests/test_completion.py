"""The completion scripts in real shells: what TAB would bring."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.cli import VERBS
from optikit.cli.completion import SCRIPTS
from tests.specs import small_plan

ROOT = Path(__file__).parent.parent


@pytest.fixture
def environment(tmp_path: Path, optikit_home: Path) -> dict[str, str]:
    """An ``optikit`` on the path that is this source."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "optikit"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{_MAIN}" "$@"\n')
    program.chmod(0o755)
    found = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return {**found, "PYTHONPATH": str(ROOT / "src"), "OPTIKIT_HOME": str(optikit_home)}


_MAIN = "import sys; from optikit.cli import main; sys.exit(main())"


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def in_bash(environment: dict[str, str], folder: Path, *words: str) -> list[str]:
    """COMPREPLY after TAB at the last of these words."""
    script = """
set -u
eval "$(optikit completion bash)"
declare -A registered
complete -p optikit > /dev/null || exit 9
COMP_WORDS=(optikit "$@")
COMP_CWORD=$#
COMP_LINE="optikit $*"
COMP_POINT=${#COMP_LINE}
_optikit_completion
printf '%s\\n' "${COMPREPLY[@]}"
"""
    return run(["bash", "--norc", "-c", script, "bash", *words], environment, folder).split("\n")[
        :-1
    ]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_verbs_options_names_jobs_and_files(
    environment: dict[str, str], tmp_path: Path, optikit_home: Path
) -> None:
    JobArchive.create(optikit_home, small_plan(), {}, "job-1")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "my job.yaml").touch()
    (folder / "models").mkdir()

    def tab(*words: str) -> list[str]:
        return in_bash(environment, folder, *words)

    assert tab("") == list(VERBS)
    assert tab("sub") == ["submit"]
    assert tab("plan", "--pre") == ["--predict"]
    assert tab("submit", "--pool", "") == ["inline", "process", "ray"]
    assert tab("show", "") == ["job-1", "last"]
    assert tab("plan", "m") == ["models", "my job.yaml"]
    assert tab("serve", "--home", "m") == ["models"]
    assert tab("nosuch", "x") == [""]
    assert tab("plan", "$(touch harm)") == [""]
    assert not (folder / "harm").exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_takes_the_script_without_a_word(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS["bash"])
    assert run(["bash", "-n", "script"], environment, tmp_path) == ""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_takes_the_script_without_a_word(environment: dict[str, str], tmp_path: Path) -> None:
    script = 'autoload -Uz compinit && compinit -u -D && eval "$(optikit completion zsh)"'
    assert run(["zsh", "-f", "-c", script], environment, tmp_path) == ""


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes_a_verb(environment: dict[str, str], tmp_path: Path) -> None:
    script = "optikit completion fish | source; complete -C 'optikit sub'"
    assert run(["fish", "-N", "-c", script], environment, tmp_path).startswith("submit\t")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_asks_the_program_each_time(shell: str) -> None:
    """Nothing of the command line is in it, so it cannot go stale."""
    assert f"completion {shell} --words" in SCRIPTS[shell]
    assert not any(f" {verb} " in SCRIPTS[shell] for verb in VERBS if verb != "completion")
