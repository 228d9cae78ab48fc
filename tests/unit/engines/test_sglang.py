from __future__ import annotations

import stat
from pathlib import Path

import pytest

from optikit.engines import ENGINES
from optikit.engines._sglang_flags import arguments
from optikit.engines.base import Engine
from optikit.engines.sglang import ENGINE, Sglang, _prepared
from optikit.errors import BadInput, EngineError
from optikit.spec.serving import ServingConfig

PYTHON = Path("/opt/sglang/bin/python")
SERVING = ServingConfig(max_model_len=64)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Sglang:
    monkeypatch.setattr(Sglang, "interpreter", lambda self: PYTHON)
    return Sglang(PYTHON)


def test_it_is_the_engine_of_that_name_and_holds_the_protocol() -> None:
    engine: Engine = ENGINES.load("sglang")
    assert engine is ENGINE
    assert engine.facts.name == "sglang"
    assert set(engine.facts.serves) == {"gpu"}


def test_the_plain_command(engine: Sglang) -> None:
    words = engine.command(Path("/m/qwen"), SERVING, "gpu", host="0.0.0.0", port=8000)
    assert words == [
        *(str(PYTHON), "-m", "sglang.launch_server"),
        *("--model-path", "/m/qwen", "--served-model-name", "qwen"),
        *("--host", "0.0.0.0", "--port", "8000"),
        *arguments(SERVING),
    ]


def test_the_key_lies_in_a_file_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGLANG_API_KEY", "theirs")
    monkeypatch.setenv("SGLANG_USE_AITER", "1")
    monkeypatch.setenv("HF_TOKEN", "theirs")
    words, environment = _prepared(["python", "-m", "x"], "0f3e", tmp_path)
    file = tmp_path / "key.yaml"
    assert words == ["python", "-m", "x", "--config", str(file)]
    assert file.read_text() == 'api-key: "0f3e"\n'  # no number, whatever its digits
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "0f3e" not in environment.values()
    assert environment["SGLANG_USE_AITER"] == "1"
    assert "theirs" not in environment.values()
    assert environment["TMPDIR"] == str(tmp_path)
    assert not environment["TORCHINDUCTOR_CACHE_DIR"].startswith(str(tmp_path))


def test_a_cpu_is_refused(engine: Sglang) -> None:
    with pytest.raises(BadInput, match="Choose a GPU SKU, or engine: vllm"):
        engine.check(SERVING, "cpu")
    with pytest.raises(BadInput, match="serves on GPUs"):
        engine.command(Path("/m"), SERVING, "cpu", host="h", port=1)


def test_a_missing_environment_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPTIKIT_SGLANG_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(EngineError, match=r"nowhere.*pip install sglang.*OPTIKIT_SGLANG_PYTHON"):
        ENGINE.version()
