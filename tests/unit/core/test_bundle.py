import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.bundle import HOST, MODEL, PORT, readable, readme, serve_script, shell_word
from tests.specs import small_plan


def test_readable_fills_in_the_defaults() -> None:
    command = ["py", f"--model={MODEL}", "--host", HOST, f"{HOST}:{PORT}"]
    assert readable(command) == ("py", "--model=model", "--host", "127.0.0.1", "127.0.0.1:8000")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_a_fixed_word_reaches_the_server_unchanged(word: str) -> None:
    assert shlex.split(shell_word(word)) == [word]


@given(st.text(alphabet="ab '\"$`\\!*\n", max_size=8), st.sampled_from([MODEL, HOST, PORT]))
def test_only_what_varies_is_expanded(text: str, place: str) -> None:
    variable = {MODEL: '"$here/model"', HOST: '"$HOST"', PORT: '"$PORT"'}[place]
    word = shell_word(f"{text}{place}{text}")
    assert word.count(variable) == 1
    before, after = word.split(variable)
    assert shlex.split(before) == ([text] if text else [])
    assert shlex.split(after) == ([text] if text else [])


def test_the_script_has_the_command_and_the_environment() -> None:
    script = serve_script(
        ["/env dir/bin/python", "-m", "server", "--model", MODEL, "--port", PORT],
        {"A": "1 2"},
        "vllm 0.32.0",
        "m-int_w8a8",
    )
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "recorded='/env dir/bin/python'" in script
    assert "export A='1 2'\n" in script
    assert 'HOST="${HOST:-127.0.0.1}"' in script
    words = script[script.index('exec "') :].replace("\\\n", " ").split()
    assert words == [
        "exec",
        '"$found"',
        "-m",
        "server",
        "--model",
        '"$here/model"',
        "--port",
        '"$PORT"',
        '"$@"',
    ]


@pytest.mark.parametrize("title", ["m\nrm -rf /", "m\r\nx"])
def test_a_title_cannot_leave_its_comment(title: str) -> None:
    script = serve_script(["python"], {}, "engine\nexit", title)
    assert all(not line.startswith(("rm", "x", "exit")) for line in script.splitlines())


def test_a_model_with_code_of_its_own_is_said() -> None:
    trusting = small_plan(model={"name": "m", "trust_remote_code": True})
    assert "| code | the model brings its own" in readme(trusting, "m", "none", None, None, None)
    assert "| code |" not in readme(small_plan(), "m", "none", None, None, None)
    assert trusting.serving.trust_remote_code
    assert trusting.baseline_serving is not None
    assert trusting.baseline_serving.trust_remote_code
    assert any("trust_remote_code" in warning for warning in trusting.warnings)
    assert not any("trust_remote_code" in warning for warning in small_plan().warnings)
