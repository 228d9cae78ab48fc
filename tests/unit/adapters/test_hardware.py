from pathlib import Path

import pytest

from optikit.adapters import hardware as module
from optikit.adapters.hardware import cpu_dtype, describe_environment, hardware


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_gpus", list)


def test_facts_are_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: A CPU: fast\nprocessor\t: 1\nmodel name\t: other\n"
    )
    (tmp_path / "meminfo").write_text("MemTotal:       25165824 kB\nMemFree: 1 kB\n")
    facts = hardware(tmp_path)
    assert facts["cpu"] == "A CPU: fast"
    assert facts["memory"] == "24.0 GiB"
    assert int(facts["cores"]) >= 1


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    facts = hardware(tmp_path)
    assert facts["memory"] == "unknown"
    assert facts["cpu"]


def test_each_gpu_has_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_gpus", lambda: ["NVIDIA H100, 81559 MiB, 550.1"] * 2)
    facts = hardware(tmp_path)
    assert facts["gpu1"] == "NVIDIA H100, 81559 MiB, 550.1"


def test_the_environment_names_versions_of_what_is_installed() -> None:
    facts = describe_environment()
    assert facts["packages"]["pydantic"]
    assert facts["python"].startswith("3.")
    assert "cpu" in facts["hardware"]


def test_bfloat16_only_where_the_cpu_has_it(tmp_path: Path) -> None:
    assert cpu_dtype(tmp_path) == "float32"
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2 avx512f amx_tile\n")
    assert cpu_dtype(tmp_path) == "float32"
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2 avx512f avx512_bf16\n")
    assert cpu_dtype(tmp_path) == "bfloat16"
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2 amx_bf16 amx_tile amx_int8\n")
    assert cpu_dtype(tmp_path) == "bfloat16"
