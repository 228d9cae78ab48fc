from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from optikit.engines import ENGINES, _interpreter, vllm
from optikit.engines._vllm_flags import arguments
from optikit.engines.base import Engine
from optikit.engines.vllm import ENGINE, Vllm
from optikit.errors import (
    BadInput,
    EngineError,
)
from optikit.spec.serving import ServingConfig

PYTHON = Path("/opt/engine/bin/python")
ILLEGAL_FLAG = "api_server.py: error: unrecognized arguments: --no-such-flag"
NO_KERNEL = "RuntimeError: Unsupported CPU attention configuration: head_dim=16 isa=2"
SERVING = ServingConfig(
    tensor_parallel=2,
    max_num_seqs=16,
    max_num_batched_tokens=1024,
    max_model_len=48,
    dtype="float32",
    enforce_eager=True,
    gpu_memory_utilization=0.85,
)


# ---- the plug-in


def test_it_is_the_engine_of_that_name_and_holds_the_protocol() -> None:
    engine: Engine = ENGINES.load("vllm")
    assert engine is ENGINE
    assert engine.facts.name == "vllm"


def test_facts_name_what_has_kernels_where() -> None:
    assert set(ENGINE.facts.serves["cpu"]) == {"none", "W8A8", "FP8_DYNAMIC"}
    assert {"none", "W8A8", "W4A16", "FP8", "FP8_DYNAMIC", "NVFP4", "FP8_KV"} <= set(
        ENGINE.facts.serves["gpu"]
    )


def test_it_pickles() -> None:
    assert pickle.loads(pickle.dumps(Vllm(PYTHON))) == Vllm(PYTHON)


def test_the_plain_command() -> None:
    command = Vllm(PYTHON)
    words = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vllm, "interpreter", lambda self: PYTHON)
        words = command.command(Path("/m/qwen"), SERVING, "gpu", host="0.0.0.0", port=8000)
    assert words[:11] == [
        *(str(PYTHON), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", "/m/qwen", "--served-model-name", "qwen"),
        *("--host", "0.0.0.0", "--port", "8000"),
    ]
    assert words[11:] == arguments(SERVING, "gpu")


def test_a_flag_that_the_installed_vllm_does_not_know_is_refused_before_a_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {PYTHON: frozenset({"swap-space"})}
    monkeypatch.setattr(Vllm, "interpreter", lambda self: PYTHON)
    monkeypatch.setattr(vllm, "known_flags", known.__getitem__)
    engine = Vllm(PYTHON)
    engine.check(SERVING.model_copy(update={"extra_flags": (("swap_space", 4),)}), "gpu")
    serving = SERVING.model_copy(update={"extra_flags": (("swapspace", 4),)})
    with pytest.raises(BadInput, match="did you mean 'swap-space'"):
        engine.check(serving, "gpu")
    known.clear()  # asked no more where there is nothing to ask about
    engine.check(SERVING, "gpu")

    def nowhere(self: Vllm) -> Path:
        raise EngineError("no engine environment")

    monkeypatch.setattr(Vllm, "interpreter", nowhere)
    engine.check(serving, "gpu")


# ---- environment


def test_the_environment_of_a_cpu_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    given = ENGINE.environment(SERVING, "cpu")
    assert given["OMP_NUM_THREADS"] == "1"
    assert given["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert given["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert given["HF_HUB_OFFLINE"] == given["VLLM_NO_USAGE_STATS"] == "1"

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert ENGINE.environment(SERVING, "cpu")["VLLM_CPU_KVCACHE_SPACE"] == "4"


def test_a_gpu_server_keeps_its_threads() -> None:
    assert "OMP_NUM_THREADS" not in ENGINE.environment(SERVING, "gpu")


# ---- interpreter


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return path


def test_interpreter_is_looked_for_where_it_may_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPTIKIT_ENGINE_PYTHON", raising=False)
    prefix = SimpleNamespace(prefix=str(tmp_path / "project" / ".venv"))
    monkeypatch.setattr(_interpreter, "sys", prefix)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    with pytest.raises(EngineError, match="make setup") as error:
        ENGINE.interpreter()
    assert str(tmp_path / "project" / ".venv-engine") in str(error.value)

    here = executable(tmp_path / "here" / ".venv-engine" / "bin" / "python")
    assert ENGINE.interpreter() == here
    beside = executable(tmp_path / "project" / ".venv-engine" / "bin" / "python")
    assert ENGINE.interpreter() == beside
    told = executable(tmp_path / "told" / "python")
    monkeypatch.setenv("OPTIKIT_ENGINE_PYTHON", str(told))
    assert ENGINE.interpreter() == told
    assert Vllm(here).interpreter() == here


def test_a_told_interpreter_that_is_missing_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPTIKIT_ENGINE_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(EngineError, match="nowhere"):
        ENGINE.interpreter()


def test_interpreter_keeps_the_link_that_names_its_environment(tmp_path: Path) -> None:
    base = executable(tmp_path / "base" / "python")
    link = tmp_path / "python"
    link.symlink_to(base)
    assert Vllm(link).interpreter() == link
